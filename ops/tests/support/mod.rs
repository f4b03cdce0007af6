//! Services in processes of their own, of this version or another, a pretend internet, and
//! what holds at the end of every campaign.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test files that each use a part"
)]

mod browser;
mod desk;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ledger::Ledger;
use loadtests::internet::End;
use loadtests::{Generator, Internet, Listen, Scenario};
use mail::CampaignId;
use mail::queue::Counters;
use ops::demo::SENDER;
use rustix::process::{Pid, Signal, kill_process};
use store::Store;
use tokio::runtime::Runtime;

pub use browser::Browser;
pub use desk::{Customer, Desk};

pub const RETURNS: &str = "returns.malleposte.test";
pub const UP_WITHIN: Duration = Duration::from_secs(20);
/// A relay's drain, with room.
pub const ENDS_WITHIN: Duration = Duration::from_secs(40);

pub fn free_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// A service; killed when a test fails before its end.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Its log goes to `log`, what it prints beside it.
    pub fn start(log: PathBuf, mut command: Command) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let out = std::fs::File::create(Self::out(&log)).unwrap();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(file).spawn();
        Self { child: child.unwrap(), log }
    }

    fn out(log: &Path) -> PathBuf {
        log.with_extension("out")
    }

    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn printed(&self) -> String {
        std::fs::read_to_string(Self::out(&self.log)).unwrap()
    }

    /// The most memory that it ever had resident.
    pub fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(self) {
        self.ends_within(ENDS_WITHIN);
    }

    /// Asks it to end, which it must do well; answers what it printed.
    pub fn ends_within(mut self, limit: Duration) -> String {
        signal(self.child.id(), Signal::TERM);
        let status = until(limit, "an end on SIGTERM", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}:\n{}", self.told());
        self.printed()
    }

    pub fn await_api(&mut self, address: &str) {
        let url = format!("http://{address}/readyz");
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(2)))
            .build()
            .into();
        until(UP_WITHIN, "the API is ready", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.told());
            agent.get(&url).call().ok().filter(|answer| answer.status() == 200)
        });
    }
}

/// A program with a configuration, without the variables of whoever runs the tests.
pub fn command(program: &Path, config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).arg("--config").arg(config).args(words);
    command.env_remove("RUST_LOG");
    command
}

/// What a command prints; it must succeed.
pub fn output(program: &Path, config: &Path, words: &[&str]) -> String {
    let output = command(program, config, words).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "malleposte {}: {err}", words.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

pub fn internet(runtime: &Runtime) -> Internet {
    let scenario = Scenario::named("chaos").unwrap();
    runtime.block_on(Internet::start(scenario, Listen::default())).unwrap()
}

/// A pretend internet of one site that takes everything, here.
pub fn one_site(address: &str) -> String {
    format!(
        "name = 'one site'\n[manner.sink]\ntls = 'none'\n[[provider]]\nname = 'a'\n\
         domains = ['a.pretend.example']\nmanner = 'sink'\ntail = true\n\
         mx = [{{ host = 'mx.a.pretend.test', address = '{address}' }}]\n"
    )
}

/// The part of a configuration that is about the pretend internet.
pub fn settings(internet: &Internet, returns: &str, source: Ipv4Addr, name: &str) -> String {
    format!(
        "metrics.listen = 'off'\n\
         [bounces]\nlisten = '{returns}'\nconnections_per_client_max = 200\n\
         [dns]\nservers = ['{dns}']\ntimeout_ms = 1000\nfailure_ttl_s = 2\n\
         [relay]\nname = '{name}'\nport = {port}\nallow_private = true\n\
         return_path_domain = '{RETURNS}'\n\
         sources = [{{ name = 'one', address = '{source}', ehlo = '{name}.malleposte.test' }}]\n\
         [relay.retry]\nfirst_s = 2\nmax_s = 8\nlifetime_s = 300\ngreylist_s = 3\nbusy_mailbox_s = 4\n\
         [relay.pace]\nhold_s = 5\nhold_max_s = 20\nprobes_per_minute = 60.0\n",
        dns = internet.dns_address(),
        port = internet.smtp_port(),
    )
}

/// Makes a signing key and publishes what is to be published.
pub fn prove_sender(program: &Path, config: &Path, internet: &Internet) {
    publish(&output(program, config, &["dkim", "add", SENDER]), internet);
}

/// Puts the record into the zone that `dkim add` printed.
pub fn publish(told: &str, internet: &Internet) {
    let (name, value) =
        told.lines().find_map(|line| line.split_once(". TXT ")).expect("a record is printed");
    let record: String =
        value.split('"').enumerate().filter(|(i, _)| i % 2 == 1).map(|(_, part)| part).collect();
    internet.zone().add_txt(name, &record);
}

pub fn counters(runtime: &Runtime, store: &Store, campaign: CampaignId) -> Option<Counters> {
    runtime.block_on(store.campaign_counters(campaign)).ok()
}

pub fn await_share(runtime: &Runtime, store: &Store, campaign: CampaignId, share: f64) {
    until(Duration::from_secs(90), "the campaign goes on", || {
        let n = counters(runtime, store, campaign)?;
        (n.waiting as f64 <= n.accepted as f64 * (1.0 - share)).then_some(())
    });
}

/// Everybody is at rest, once in each book and with the same sums.
pub fn assert_accounts(
    runtime: &Runtime,
    store: &Store,
    ledger: &Ledger,
    of: &[(CampaignId, u64)],
) {
    let balance = until(Duration::from_secs(20), "history has read everything", || {
        let balance = runtime.block_on(ledger.balance(store)).ok()?;
        (balance.uncompared.is_empty() && balance.imbalance == 0).then_some(balance)
    });
    assert_eq!(balance.imbalance, 0);
    for (campaign, accepted) in of {
        let n = counters(runtime, store, *campaign).unwrap();
        assert_eq!((n.accepted, n.waiting, n.imbalance()), (*accepted, 0, 0), "{campaign}: {n:?}");
        let mut by_state = 0;
        for shard in store.all_shards() {
            by_state += runtime.block_on(store.audit(shard)).unwrap().waiting(*campaign);
        }
        assert_eq!(by_state, 0, "{campaign}");
    }
}

/// Who was meant to get mail has it: `copies` says how many may be there.
pub fn assert_delivered(
    internet: &Internet,
    recipients: &Generator,
    copies: std::ops::RangeInclusive<u16>,
) {
    let book = internet.book();
    for recipient in recipients.iter() {
        let meant = internet.meant(&recipient.address).end;
        if matches!(meant, End::Delivered | End::Returned(_)) {
            let taken = book.recipient(&recipient.address).map_or(0, |e| e.taken);
            assert!(copies.contains(&taken), "{}: {taken} copies", recipient.address);
        }
    }
}
