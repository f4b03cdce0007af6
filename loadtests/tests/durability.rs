//! What an answer is worth, against real servers whose power fails: at each level nothing is
//! lost that the level promises. What weaker ones lose is measured, not judged.

use loadtests::durability::{Cut, Wish, durability};

#[tokio::test(flavor = "multi_thread")]
async fn heavy_what_was_acknowledged_survives_what_its_level_speaks_of() {
    let valkey = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/valkey/valkey-server");
    let valkey = std::path::PathBuf::from(valkey);
    assert!(valkey.exists(), "{valkey:?}: `ops/install.sh --tests` puts it there");
    let wish = Wish { cuts: 2, seed: 5, valkey: Some(valkey), folder: None };
    let report = durability(&wish, |line| eprintln!("{line}")).await.expect("a table");
    assert!(report.left_out.is_empty(), "{report:#?}");
    let promised = [
        ("always", Cut::Power),
        ("replicated", Cut::PrimaryGone),
        ("fsynced-replicas", Cut::PrimaryGone),
        ("fsynced-replicas", Cut::AllPower),
    ];
    for (level, cut) in promised {
        let loss = report.losses.iter().find(|l| l.level == level && l.cut == cut);
        let loss = loss.expect("it was tried");
        assert_eq!((loss.cuts, loss.lost), (2, 0), "{loss:?}");
        assert!(loss.acknowledged > 0, "{loss:?}");
    }
    // A cut that takes nothing away would prove nothing.
    let octets: u64 = report.losses.iter().map(|loss| loss.octets_cut).sum();
    assert!(octets > 0, "{report:#?}");
}
