//! Promises of the configuration, on a small tree with one of each kind of key, and of
//! the committed example file.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Tree {
    data_dir: PathBuf,
    relay: Relay,
    hosts: BTreeMap<String, Host>,
}

/// The relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Relay {
    /// Messages a second.
    max_rate: u32,
    ehlo: Option<String>,
    mode: Mode,
    listen: run::metrics::Listen,
    #[schemars(extend("writeOnly" = true))]
    token: String,
    #[schemars(extend("writeOnly" = true))]
    keys: Vec<String>,
    sources: Vec<Host>,
    password: String,
    password_file: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Bounded.
    Strict,
    /// Not bounded.
    Loose,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Host {
    name: String,
    #[schemars(extend("writeOnly" = true))]
    password: String,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            max_rate: 7,
            ehlo: None,
            mode: Mode::Strict,
            listen: Default::default(),
            token: String::new(),
            keys: Vec::new(),
            sources: Vec::new(),
            password: String::new(),
            password_file: String::new(),
        }
    }
}

struct Bench {
    dir: TempDir,
    sources: Sources,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), sources: Sources::default() }
    }

    fn file(mut self, name: &str, text: &str) -> Self {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("written");
        self.sources.files.push(file);
        self
    }

    fn beside(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).expect("written");
        self
    }

    fn variable(mut self, name: &str, text: &str) -> Self {
        self.sources.variables.push((name.to_owned(), text.to_owned()));
        self
    }

    fn load(&self) -> Result<Tree, Problems> {
        load(&self.sources)
    }

    /// The problems as lines, the folder's name taken out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.dir.path().display());
        let problems = self.load().expect_err("something is wrong");
        problems.to_string().lines().map(|line| line.replace(&folder, "")).collect()
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    assert_eq!(Bench::new().load(), Ok(Tree::default()));
}

#[test]
fn variables_override_later_files_override_earlier_ones() {
    let tree = Bench::new()
        .file("base.toml", "data_dir = '/a'\n[relay]\nmax_rate = 1\nehlo = 'a.example'")
        .file("relay.toml", "relay.max_rate = 2\nrelay.mode = 'loose'")
        .variable("MALLEPOSTE_RELAY__MAX_RATE", "3")
        .variable("UNRELATED", "x")
        .load()
        .expect("good");
    assert_eq!(tree.data_dir, Path::new("/a"));
    assert_eq!(tree.relay.max_rate, 3);
    assert_eq!(tree.relay.ehlo.as_deref(), Some("a.example"));
    assert_eq!(tree.relay.mode, Mode::Loose);
}

#[test]
fn unknown_keys_are_all_told_with_the_file_the_key_and_the_likely_right_one() {
    let bench = Bench::new()
        .file("relay.toml", "[relay]\nmax_rat = 3\ncolour = 1\n[[relay.sources]]\nnmae = 'a'")
        .file("b.toml", "listen = 'off'\n[hosts.eu]\npasword = 'x'\n[relya]\nmode = 'x'")
        .variable("MALLEPOSTE_RELAY__EHL0", "x");
    assert_eq!(
        bench.problems(),
        [
            "relay.toml: unknown key `relay.colour`",
            "relay.toml: unknown key `relay.max_rat`; did you mean `relay.max_rate`?",
            "relay.toml: unknown key `relay.sources.0.nmae`; did you mean `relay.sources.0.name`?",
            "b.toml: unknown key `hosts.eu.pasword`; did you mean `hosts.eu.password`?",
            "b.toml: unknown key `listen`; did you mean `relay.listen`?",
            "b.toml: unknown key `relya`; did you mean `relay`?",
            "MALLEPOSTE_RELAY__EHL0: unknown key `relay.ehl0`; did you mean `relay.ehlo`?",
        ]
    );
}

#[test]
fn wrong_values_are_all_told_with_what_was_expected() {
    let bench = Bench::new()
        .file("a.toml", "relay.max_rate = 'fast'\nrelay.ehlo = 5\nrelay.sources = [{ name = [] }]")
        .file("b.toml", "relay.mode = 'lose'\nrelay.listen = 'localhost'\nhosts.eu = 'x'")
        .variable("MALLEPOSTE_RELAY__MAX_RATE", "-1");
    let mut problems = bench.problems();
    problems.sort();
    assert_eq!(
        problems,
        [
            "MALLEPOSTE_RELAY__MAX_RATE: `relay.max_rate = -1`: expected u32",
            "a.toml: `relay.ehlo = 5`: expected a string",
            "a.toml: `relay.max_rate = \"fast\"`: expected u32",
            "a.toml: `relay.sources.0.name = []`: expected a string",
            "b.toml: `hosts.eu = \"x\"`: expected struct Host",
            "b.toml: `relay.listen = \"localhost\"`: is not address:port, such as \
             127.0.0.1:9464, nor \"off\"",
            "b.toml: `relay.mode = \"lose\"`: expected one of \"strict\", \"loose\"",
        ]
    );
}

#[test]
fn variables_become_what_the_declaration_asks_for() {
    let tree = Bench::new()
        .variable("MALLEPOSTE_RELAY__EHLO", "0123")
        .variable("MALLEPOSTE_RELAY__TOKEN", "true")
        .variable("MALLEPOSTE_RELAY__KEYS", "a:00, b:11")
        .variable("MALLEPOSTE_RELAY__SOURCES", r#"[{name = "x"}]"#)
        .load()
        .expect("good");
    assert_eq!(tree.relay.ehlo.as_deref(), Some("0123"));
    assert_eq!(tree.relay.token, "true");
    assert_eq!(tree.relay.keys, ["a:00", "b:11"]);
    assert_eq!(tree.relay.sources[0].name, "x");
}

#[test]
fn a_secret_may_come_from_a_file_beside_the_one_that_names_it() {
    let tree = Bench::new()
        .beside("token", "s3cret\n")
        .beside("keys", "a:00\n\nb:11\n")
        .file("a.toml", "relay.token = 'old'\n[hosts.eu]\npassword_file = 'token'")
        .file("b.toml", "[relay]\ntoken_file = 'token'\nkeys_file = 'keys'")
        .load()
        .expect("good");
    assert_eq!(tree.relay.token, "s3cret");
    assert_eq!(tree.relay.keys, ["a:00", "b:11"]);
    assert_eq!(tree.hosts["eu"].password, "s3cret");
}

#[test]
fn secret_files_that_cannot_serve_are_told_and_only_secrets_have_them() {
    let bench = Bench::new().beside("token", "x").file(
        "a.toml",
        "[relay]\nkeys_file = 'missing'\ntoken = 'y'\ntoken_file = 'token'\nehlo_file = 'token'",
    );
    let problems = bench.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0], "a.toml: unknown key `relay.ehlo_file`");
    assert!(problems[1].starts_with("a.toml: `relay.keys_file`: \"missing\": cannot be read"));
    assert_eq!(
        problems[2],
        "a.toml: `relay.token_file`: `relay.token` is set here too; keep one of them"
    );
}

#[test]
fn systemd_credentials_lie_between_files_and_variables() {
    let mut bench = Bench::new().file("a.toml", "relay.token = 'file'");
    let credentials = bench.dir.path().join("credentials");
    fs::create_dir(&credentials).expect("made");
    fs::write(credentials.join("relay.token"), "credential\n").expect("written");
    fs::write(credentials.join("tls.pem"), "somebody else's").expect("written");
    bench.sources.credentials = Some(credentials);
    assert_eq!(bench.load().expect("good").relay.token, "credential");
    let bench = bench.variable("MALLEPOSTE_RELAY__TOKEN", "variable");
    assert_eq!(bench.load().expect("good").relay.token, "variable");
}

#[test]
fn a_section_may_declare_the_file_of_its_secret_itself() {
    let bench = Bench::new().beside("token", "x\n");
    let text = "relay.password = ''\nrelay.password_file = 'token'\nrelay.token_file = ''";
    let tree = bench.file("a.toml", text).load().expect("good");
    let relay = &tree.relay;
    assert_eq!((&*relay.password, &*relay.password_file, &*relay.token), ("x", "", ""));
}

#[test]
fn a_wrong_secret_is_never_shown() {
    let bench = Bench::new().file(
        "a.toml",
        "relay.token = 12345\nrelay.keys = ['good', 12345]\nrelay.password = 12345\n\
         relay.sources = [{ password = 12345 }]\nhosts.eu.password = { x = 'hush' }",
    );
    let problems = bench.problems();
    assert_eq!(problems.len(), 5, "{problems:?}");
    for problem in problems {
        assert!(problem.contains(" = (a secret, not shown)`"), "{problem}");
        assert!(!problem.contains("12345") && !problem.contains("hush"), "{problem}");
    }
}

#[test]
fn files_that_are_not_toml_or_not_there_are_told() {
    let mut bench = Bench::new().file("a.toml", "relay = [").file("b.toml", "\u{0}\u{1}");
    bench.sources.files.push(bench.dir.path().join("c.toml"));
    bench.sources.files.push(bench.dir.path().to_owned());
    let problems = bench.problems();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems[0].starts_with("a.toml: is not TOML: "), "{problems:?}");
    assert!(problems[1].starts_with("b.toml: is not TOML: "), "{problems:?}");
    assert!(problems[2].starts_with("c.toml: cannot be read: "), "{problems:?}");
}

#[test]
fn the_committed_example_file_is_the_generated_one() {
    let committed = include_str!("../../malleposte.example.toml");
    assert!(
        committed == example::<Config>(),
        "`malleposte check --print-example > ops/malleposte.example.toml` writes it again"
    );
}

#[test]
fn every_default_that_the_example_shows_is_the_real_one() {
    let setting = |line: &str| {
        let text = line.strip_prefix('#')?;
        let is_one = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        // Without a default there is nothing to compare: an example or nothing follows.
        (is_one && !text.ends_with('=')).then(|| text.to_owned())
    };
    let text = example::<Config>();
    let mut settings: Vec<String> = Vec::new();
    let mut unset = false;
    for line in text.lines() {
        settings.extend(setting(line).filter(|_| !unset));
        unset = line.starts_with("# Not set by default");
    }
    assert!(settings.len() > 5, "{settings:?}");
    let bench = Bench::new().file("all.toml", &settings.join("\n"));
    assert_eq!(load::<Config>(&bench.sources), Ok(Config::default()));
}

#[test]
fn what_only_sense_can_judge_is_judged_before_anything_starts() {
    let bench = Bench::new().file("a.toml", "log.level = 'inof'\nsecrets.platform = ['a:12']");
    let problems = Config::read(&bench.sources).expect_err("two mistakes").to_string();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(problems.contains("a.toml: log: `level`: \"inof\" is not one of"), "{problems}");
}

#[test]
fn systemds_state_directory_is_the_default_data_folder() {
    let bench = Bench::new().variable("STATE_DIRECTORY", "/var/lib/malleposte:/x");
    let config = Config::read(&bench.sources).expect("good");
    assert_eq!(config.data_dir, Path::new("/var/lib/malleposte"));
}
