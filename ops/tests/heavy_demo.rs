//! The demo as a newcomer runs it, only shorter: its own verdict is the test.

use std::process::Command;

#[test]
fn heavy_the_demo_ends_well_and_says_so_in_one_object() {
    let out = Command::new(env!("CARGO_BIN_EXE_malleposte"))
        .args(["demo", "--recipients", "1500", "--json"])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&out.stdout);
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}\n{told}");
    let summary: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
    for name in ["waiting", "imbalance", "misclassified", "lost", "violations", "unstable"] {
        assert_eq!(summary[name], 0, "{name}: {text}");
    }
    assert_eq!(summary["accepted"], 1500);
    let number = |name: &str| summary[name].as_f64().unwrap_or(f64::NAN);
    assert!(number("duplicates") <= number("duplicate_bound"), "{text}");
    assert!(number("delivered") >= 1200.0, "{text}");
    assert!(number("dialects") >= 5.0, "{text}");
    assert!(number("killed_past_the_dot") >= 10.0, "{text}");
    assert!((0.0..=10.0).contains(&number("takeover_seconds")), "{text}");
}
