//! The life of a domain's DKIM keys, as an operator types it, with a pretend DNS that shows
//! what he has published.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use loadtests::{Internet, Listen, Scenario};
use rustix::process::{Pid, Signal, kill_process};

const DOMAIN: &str = "news.example";

struct World {
    internet: Internet,
    redis: Child,
    folder: tempfile::TempDir,
    /// What the pretend DNS runs on.
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let scenario = Scenario::named("throughput").unwrap();
        let internet = runtime.block_on(Internet::start(scenario, Listen::default())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = format!("[dns]\nservers = ['{}']\n", internet.dns_address());
        std::fs::write(folder.path().join("malleposte.toml"), config).unwrap();
        let mut redis =
            malleposte(folder.path()).arg("redis").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let told = redis.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(told), &mut line).unwrap();
        Self { internet, redis, folder, _runtime: runtime }
    }

    /// What a command prints, and whether it says that all is well.
    fn dkim(&self, words: &[&str]) -> (bool, String) {
        let output = malleposte(self.folder.path()).arg("dkim").args(words).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).unwrap())
    }

    #[track_caller]
    fn good(&self, words: &[&str]) -> String {
        let (is_good, told) = self.dkim(words);
        assert!(is_good, "{words:?}: {told}");
        told
    }

    #[track_caller]
    fn refused(&self, words: &[&str], says: &str) {
        let (is_good, told) = self.dkim(words);
        assert!(!is_good && told.contains(says), "{words:?}: {told}");
    }

    /// Puts the printed records into DNS.
    fn publish(&self, told: &str) {
        for (name, value) in told.lines().filter_map(|line| line.split_once(". TXT ")) {
            let text: String = value.split('"').skip(1).step_by(2).collect();
            self.internet.zone().add_txt(name.trim(), &text);
        }
    }

    fn states(&self) -> String {
        let told = self.good(&["list", DOMAIN, "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let keys = told["senders"][0]["keys"].as_array().unwrap().iter();
        let word = |key: &serde_json::Value, name: &str| key[name].as_str().unwrap().to_owned();
        let shown =
            keys.map(|k| [word(k, "selector"), word(k, "algorithm"), word(k, "state")].join(" "));
        shown.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.redis.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.redis.wait();
    }
}

fn malleposte(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleposte"));
    command.current_dir(dir).env_remove("RUST_LOG").env("MALLEPOSTE_METRICS__LISTEN", "off");
    command
}

#[test]
fn a_key_is_added_rotated_and_removed_and_dns_is_looked_at_on_the_way() {
    let world = World::new();
    let first = world.good(&["add", DOMAIN]);
    assert_eq!(first.matches(". TXT ").count(), 1, "{first}");
    assert_eq!(world.good(&["show", DOMAIN]), first);
    assert_eq!(world.states(), "mp1 rsa active");
    world.refused(&["add", DOMAIN], "dkim rotate news.example");
    world.refused(&["check", DOMAIN], "missing: publish");
    world.publish(&first);
    assert!(world.good(&["check", DOMAIN]).contains("(rsa, active): right"));

    let second = world.good(&["rotate", DOMAIN]);
    assert!(second.contains("mp2._domainkey.news.example. TXT") && second.contains("activate"));
    world.refused(&["rotate", DOMAIN], "has a new rsa key \"mp2\" already");
    assert!(world.good(&["check", DOMAIN]).contains("(rsa, published): missing"));
    world.refused(&["activate", DOMAIN, "mp2"], "does not show this key");
    world.publish(&second);
    assert!(world.good(&["activate", DOMAIN, "mp2"]).contains("mp1 is retired"));
    assert_eq!(world.states(), "mp2 rsa active, mp1 rsa retired");

    world.refused(&["remove", DOMAIN, "mp2"], "still signs");
    world.refused(&["remove", DOMAIN, "mp1"], "may be on its way");
    world.refused(&["remove", DOMAIN, "mp7"], "no key \"mp7\"; there are: mp2, mp1");
    world.good(&["remove", DOMAIN, "mp1", "--force"]);
    assert_eq!(world.states(), "mp2 rsa active");
}

#[test]
fn a_domain_moves_from_rsa_to_both_and_to_ed25519_alone() {
    let world = World::new();
    let both = world.good(&["add", DOMAIN, "--algorithm", "both", "--selector", "s"]);
    assert_eq!(world.states(), "s rsa active, s-ed25519 ed25519 active");
    world.publish(&both);
    let told = world.good(&["check", DOMAIN]);
    assert_eq!(told.matches(": right").count(), 2, "{told}");
    assert!(world.good(&["retire", DOMAIN, "s"]).contains("no more"));
    world.refused(&["retire", DOMAIN, "s-ed25519"], "the only key that signs");
    assert_eq!(world.states(), "s-ed25519 ed25519 active, s rsa retired");
    world.refused(&["add", "news,example"], "is not a domain name");
    world.refused(&["add", "a.example", "--selector", "a b"], "selector \"a b\"");
    world.refused(&["check", "b.example"], "malleposte dkim add b.example");
}

#[test]
fn check_tells_what_is_wrong_with_a_record() {
    let world = World::new();
    let told = world.good(&["add", DOMAIN]);
    let (name, value) = told.lines().find_map(|line| line.split_once(". TXT ")).unwrap();
    let strings: Vec<&str> = value.split('"').skip(1).step_by(2).collect();
    let cases: [(&[&str], &str); 4] = [
        (&[value], "split badly: quotation marks"),
        (&[strings[0]], "split badly: cut off after"),
        (&strings, "split badly: in 2 records"),
        (&["v=DKIM1; p="], "different: the record there revokes the key"),
    ];
    for (records, says) in cases {
        world.internet.zone().remove(name);
        records.iter().for_each(|record| world.internet.zone().add_txt(name, record));
        world.refused(&["check", DOMAIN], says);
    }
    let (_, told) = world.dkim(&["check", DOMAIN, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (told["good"].as_bool(), told["keys"][0]["dns"].as_str()),
        (Some(false), Some("different"))
    );
}
