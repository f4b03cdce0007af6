//! docs/API.md is run as it stands: its shell examples, in order, with curl.

use std::process::Command;

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_are_true() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("not checked: there is no curl here");
        return;
    }
    let world = World::new().await;
    ledger::Ledger::open(&world.history()).unwrap();
    let text = include_str!("../../../docs/API.md");
    let examples: Vec<&str> =
        text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 6, "only {} examples were found", examples.len());
    let mut said = String::new();
    for example in examples {
        let run = Command::new("sh")
            .args(["-e", "-c", example])
            .env("API", format!("http://{}", world.address))
            .env("KEY", &world.key)
            .current_dir(world.folder.path())
            .output()
            .unwrap();
        said.push_str(&String::from_utf8_lossy(&run.stdout));
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{example}\n{said}\n{error}");
    }
    let shown = text.lines().find(|l| l.starts_with("{\"line\":3")).unwrap();
    assert!(said.contains(shown), "the report is shown otherwise:\n{said}");
    let problem = world
        .request("POST", "/v1/campaigns")
        .header("content-type", "application/json")
        .body(b"{\n \"name\": \"x\",\n oops }")
        .send()
        .await
        .problem(400, "malformed-json");
    let detail = problem["detail"].as_str().unwrap();
    assert!(text.contains(detail), "the problem is shown otherwise: {detail}");
    let view = world.get("/v1/campaigns/c1").await.json();
    assert_eq!((&view["status"], &view["progress"]["accepted"]), (&"running".into(), &2.into()));
}
