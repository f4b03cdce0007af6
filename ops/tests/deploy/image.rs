//! The Dockerfile against what is there to build and to run.

use crate::deploy::assert_command;
use crate::deploy::compose::{Compose, root, text};

/// The instructions, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = text("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|l| l.split_once(' ').expect("an instruction"))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn all(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|(n, _)| n == name).map(|(_, rest)| rest).collect()
}

#[test]
fn the_image_is_built_from_what_is_here_and_runs_without_root() {
    let manifest: toml::Value = toml::from_str(&text("Cargo.toml")).unwrap();
    let package = &manifest["workspace"]["package"];
    let rust = package["rust-version"].as_str().unwrap();
    assert_eq!(
        all("FROM"),
        [format!("rust:{rust}-slim-bookworm AS build"), "debian:bookworm-slim".to_owned()]
    );
    let run = all("RUN").join("\n");
    let build = "cargo build --locked --release --package ops --bin malleposte";
    assert!(run.contains(build), "{run}");
    let built = "/src/target/release/malleposte /usr/local/bin/malleposte";
    assert!(all("COPY").contains(&format!("--from=build {built}")));
    let user = all("USER").join("");
    let (uid, gid) = user.split_once(':').unwrap();
    assert!(uid.parse::<u32>().unwrap() > 0 && gid.parse::<u32>().unwrap() > 0, "{user}");
    assert!(run.contains(&format!("--owner={uid} --group={gid}")), "its data folder is its own");
    assert_eq!(all("ENTRYPOINT"), [r#"["malleposte"]"#]);
    let health = all("HEALTHCHECK").join("");
    let (_, command) = health.split_once("CMD ").unwrap();
    let words: Vec<String> = serde_json::from_str(command).unwrap();
    assert_eq!(words[0], "malleposte");
    assert_command("HEALTHCHECK", &words[1..]);
    let version = package["version"].as_str().unwrap();
    for service in Compose::read().ours() {
        assert_eq!(service.image, format!("malleposte:{version}"), "{}", service.name);
    }
}

#[test]
fn what_the_build_needs_is_not_kept_from_it() {
    let manifest: toml::Value = toml::from_str(&text("Cargo.toml")).unwrap();
    let ignored = text(".dockerignore");
    let ignored: Vec<&str> =
        ignored.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members = members.iter().map(|m| m.as_str().unwrap());
    for needed in members.chain(["Cargo.toml", "Cargo.lock", "ops/malleposte.example.toml"]) {
        assert!(root().join(needed).exists(), "{needed}");
        let kept_out = |rule: &&str| needed == *rule || needed.starts_with(&format!("{rule}/"));
        assert!(!ignored.iter().any(kept_out), "{needed} is ignored");
    }
    for secret in ["ops/deploy", ".git", "target"] {
        assert!(ignored.contains(&secret), "{secret} would go into a layer");
    }
    assert!(text(".gitignore").lines().any(|l| l == "/ops/deploy/secrets"));
}
