//! What an operator sees of reports about TLS.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mail::tlsrpt::{Counts, Day, Failure, Policy, PolicyKind, ResultType};
use mail::{Domain, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use store::{Store, TlsCounted, TlsReportState};

struct World {
    redis: Child,
    url: String,
    folder: tempfile::TempDir,
}

fn malleposte(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleposte"));
    command.current_dir(dir).env_remove("RUST_LOG").env("MALLEPOSTE_METRICS__LISTEN", "off");
    command
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut redis =
            malleposte(folder.path()).arg("redis").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(redis.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { redis, url: line.trim().to_owned(), folder }
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("malleposte.toml"), text).unwrap();
    }

    /// What the command prints, and whether it says that all is well.
    fn run(&self, words: &[&str]) -> (bool, String) {
        let output =
            malleposte(self.folder.path()).arg("tls-reports").args(words).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).unwrap())
    }

    #[track_caller]
    fn good(&self, words: &[&str]) -> String {
        let (is_good, told) = self.run(words);
        assert!(is_good, "{words:?}: {told}");
        told
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.redis.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.redis.wait();
    }
}

fn today() -> Day {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Day::of(Timestamp(since.as_millis() as u64))
}

async fn fill(url: &str, day: Day) {
    let config = store::Config { url: url.to_owned(), ..store::Config::default() };
    let store = Store::open(&config).await.unwrap();
    let domain: Domain = "example.com".parse().unwrap();
    let mut counts = Counts::default();
    let policy = Policy::tlsa(["3 1 1 ab".to_owned()]);
    (0..5).for_each(|_| counts.count(policy.clone(), None));
    let expired = Failure {
        mx: "mx1.example.com".into(),
        receiving_ip: Some("203.0.113.5".parse().unwrap()),
        ..Failure::bare(ResultType::CertificateExpired)
    };
    counts.count(policy, Some(expired.because("its certificate has expired")));
    let failure = Failure::bare(ResultType::StarttlsNotSupported);
    counts.count(Policy::bare(PolicyKind::NoPolicyFound), Some(failure));
    for day in [day.before(), day] {
        let counted = TlsCounted { day, domain: &domain, counts: &counts, due: day.end() };
        assert!(store.count_tls(&[counted]).await.remove(0).unwrap());
    }
    let at = day.end() - Duration::from_secs(3600);
    let state = TlsReportState {
        attempts: 2,
        first_at: Some(at),
        next_at: Some(at + Duration::from_secs(1200)),
        sent: [("mailto:a@example.com".to_owned(), at)].into(),
        failed: [("https://x.example/".to_owned(), "status 503".to_owned())].into(),
        ..TlsReportState::default()
    };
    store.tls_reported(day.before(), &domain, &state).await.unwrap();
}

#[test]
fn what_was_counted_and_what_became_of_each_report_is_shown() {
    let world = World::new();
    let told = world.good(&[]);
    assert_eq!(told, "nothing is counted: relay.tls_reports.from is not set\n");
    world.configure("[relay.tls_reports]\nfrom = 'tls@sender.example'\n");
    let told = world.good(&[]);
    assert_eq!(told, "nothing was counted: no domain that was sent to asks for reports\n");
    let day = today();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fill(&world.url, day));

    let told = world.good(&[]);
    let lines: Vec<&str> = told.lines().collect();
    let counts =
        "example.com: 7 sessions, 2 failed (starttls-not-supported 1, certificate-expired 1)";
    assert_eq!(lines[0], format!("{day} {counts}"));
    assert_eq!(lines[1], "  goes when the day is over");
    assert_eq!(lines[2], format!("{} {counts}", day.before()));
    let at = day.end() - Duration::from_secs(3600);
    assert_eq!(
        lines[3],
        format!(
            "  sent to mailto:a@example.com at {at}; not sent to https://x.example/: status 503; \
             tried 2 times, again at {}",
            at + Duration::from_secs(1200)
        )
    );
    assert_eq!(lines.len(), 4);

    let told = world.good(&["example.com", "--day", &day.to_string()]);
    let expired =
        "    1 certificate-expired at mx1.example.com [203.0.113.5]: its certificate has expired";
    assert!(told.contains("\n  DANE: 5 as it should be, 1 failed\n"), "{told}");
    assert!(told.contains(expired), "{told}");

    let told: serde_json::Value = serde_json::from_str(&world.good(&["--json"])).unwrap();
    let row = &told["tls_reports"][1];
    assert_eq!(
        (&row["successes"], &row["failures"]["certificate-expired"]),
        (&5.into(), &1.into())
    );
    assert_eq!(row["report"]["failed"]["https://x.example/"], "status 503");

    let told: serde_json::Value =
        serde_json::from_str(&world.good(&["example.com", "--report"])).unwrap();
    assert_eq!(told["report-id"], format!("{}.example.com@sender.example", day.before()));
    assert_eq!(told["policies"][0]["summary"]["total-failure-session-count"], 1);

    for (words, says) in [
        (&["none.example", "--report"][..], "nothing is known of none.example"),
        (&["--report"], "<DOMAIN>"),
        (&["--day", "yesterday"], "\"yesterday\" is no day: write it as 2026-01-31"),
        (&["not a domain"], "not a domain"),
    ] {
        let (is_good, told) = world.run(words);
        assert!(!is_good && told.contains(says), "{words:?}: {told}");
    }
    world.configure("[relay.tls_reports]\nfrom = 'nobody'\n");
    let (is_good, told) = world.run(&[]);
    assert!(
        !is_good && told.contains("relay.tls_reports.from \"nobody\" is not an address"),
        "{told}"
    );
}
