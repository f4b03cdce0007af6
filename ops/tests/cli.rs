//! Promises of the executable as a whole, kept by running it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Without the variables of whoever runs the tests.
fn malleposte(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleposte"));
    command.current_dir(dir).env_remove("RUST_LOG").env("MALLEPOSTE_METRICS__LISTEN", "off");
    command
}

fn run(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not zero");
    kill_process(pid, signal).expect("it was there");
}

/// `malleposte redis`, and the socket it told when it was ready.
fn private_redis(dir: &Path) -> (Child, std::path::PathBuf) {
    let mut child = malleposte(dir)
        .arg("redis")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let socket = line.trim().strip_prefix("redis+unix://").expect("a URL").into();
    (child, socket)
}

/// The processes whose command line names this socket.
fn servers_at(socket: &Path) -> Vec<u32> {
    let names_it = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // Redis writes its socket's path into its title: `redis-server unixsocket:/…`.
        String::from_utf8_lossy(&words).contains(&*socket.to_string_lossy())
    };
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(names_it).collect()
}

fn gone_within(limit: Duration, socket: &Path) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if servers_at(socket).is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_private_redis_ends_with_its_parent_even_when_that_is_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut parent, socket) = private_redis(dir.path());
    assert_eq!(servers_at(&socket).len(), 1);
    kill(parent.id(), Signal::KILL);
    parent.wait().expect("it ended");
    assert!(gone_within(Duration::from_secs(2), &socket), "Redis outlived its parent");
    // The folder is free at once, although nobody cleaned up.
    let (mut next, socket) = private_redis(dir.path());
    kill(next.id(), Signal::TERM);
    assert!(next.wait().expect("it ended").success());
    assert!(!socket.exists());
}

#[test]
fn sigterm_ends_it_in_good_order_and_a_second_one_is_refused_meanwhile() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut first, socket) = private_redis(dir.path());
    let (output, out, err) = run(malleposte(dir.path()).arg("redis"));
    assert!(!output.status.success() && out.is_empty());
    let told = err.lines().last().unwrap_or_default();
    assert!(told.contains(&format!("is in use by process {}", first.id())), "{err}");
    kill(first.id(), Signal::TERM);
    assert!(first.wait().expect("it ended").success());
    assert!(servers_at(&socket).is_empty(), "Redis was waited for");
}

#[test]
fn a_second_signal_ends_at_once_and_takes_a_hanging_redis_along() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut parent, socket) = private_redis(dir.path());
    let server = servers_at(&socket);
    kill(server[0], Signal::STOP);
    kill(parent.id(), Signal::TERM);
    // Two signals that arrive together are one: wait until the first was understood.
    let mut log = BufReader::new(parent.stderr.take().expect("a pipe")).lines();
    assert!(log.any(|line| line.expect("a line").contains("a second signal ends at once")));
    let asked = Instant::now();
    kill(parent.id(), Signal::TERM);
    assert_eq!(parent.wait().expect("it ended").code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(gone_within(Duration::from_secs(2), &socket), "Redis outlived its parent");
}

#[test]
fn without_a_server_binary_one_line_says_what_to_install() {
    let dir = tempfile::tempdir().expect("a folder");
    let (output, out, err) = run(malleposte(dir.path()).arg("redis").env("PATH", dir.path()));
    assert!(!output.status.success() && out.is_empty());
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("apt-get install redis-server"), "{err}");
}

#[test]
fn a_corrupt_configuration_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("malleposte.toml"), "[redis]\nappendfsync = 'alwais'\nx = 1")
        .expect("written");
    for command in ["check", "redis"] {
        let (output, out, err) = run(malleposte(dir.path()).arg(command));
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("malleposte.toml: unknown key `redis.x`"), "{err}");
        assert!(err.contains("`redis.appendfsync = \"alwais\"`: expected one of"), "{err}");
    }
    assert!(!dir.path().join("malleposte-data").exists());
}

#[test]
fn check_says_ok_and_warns() {
    let dir = tempfile::tempdir().expect("a folder");
    let returns = ("MALLEPOSTE_RELAY__RETURN_PATH_DOMAIN", "returns.example.org");
    let (output, out, err) = run(malleposte(dir.path()).arg("check").env(returns.0, returns.1));
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    assert_eq!(out, "no file, only defaults and variables: OK\n");
    let (_, _, err) = run(malleposte(dir.path()).arg("check"));
    assert!(err.starts_with("warning: relay.return_path_domain is not set"), "{err}");

    std::fs::write(dir.path().join("m.toml"), "metrics.listen = '0.0.0.0:9464'").expect("written");
    let mut check = malleposte(dir.path());
    let (output, out, err) = run(check
        .args(["check", "m.toml"])
        .env_remove("MALLEPOSTE_METRICS__LISTEN")
        .env(returns.0, returns.1));
    assert_eq!((output.status.code(), out.as_str()), (Some(0), "m.toml: OK\n"));
    assert!(err.starts_with("warning: `metrics.listen`: 0.0.0.0:9464"), "{err}");
}

#[test]
fn the_metrics_page_is_served_and_a_taken_port_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let with_port = || {
        let mut command = malleposte(dir.path());
        command.arg("redis").env("MALLEPOSTE_METRICS__LISTEN", &address);
        command
    };
    let (output, _, err) = run(&mut with_port());
    assert!(!output.status.success());
    assert!(err.contains("metrics.listen") && err.contains(&address), "{err}");

    drop(taken);
    let mut child = with_port().stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let mut page = std::net::TcpStream::connect(&address).expect("it listens");
    std::io::Write::write_all(&mut page, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("asked");
    let mut status = String::new();
    BufReader::new(page).read_line(&mut status).expect("an answer");
    assert!(status.contains("200"), "{status}");
    kill(child.id(), Signal::TERM);
    assert!(child.wait().expect("it ended").success());
}

#[test]
fn help_teaches_and_completions_are_printed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, help, _) = run(malleposte(dir.path()).arg("--help"));
    assert!(help.contains("Examples:") && help.contains("malleposte check"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let (output, out, _) = run(malleposte(dir.path()).args(["completions", shell]));
        assert!(output.status.success() && out.contains("malleposte"), "{shell}");
    }
}

/// Each verb as an operator types it, and what it says; a test in `loadtests` shows what
/// orders do to mail.
#[test]
fn operators_give_list_and_undo_orders_and_mistakes_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut redis, socket) = private_redis(folder.path());
    let cases: [(&[&str], bool, &str); 16] = [
        (&["orders"], true, "no orders hold"),
        (&["asides"], true, "nothing is set aside"),
        (&["suspend", "domain", "Example.org"], true, "order 1 holds: suspend domain example.org"),
        (&["reroute", "all", "--to", "warm"], true, "order 2 holds: reroute all to warm"),
        (&["orders"], true, "1  suspend domain example.org  by ann at "),
        (&["resume", "domain", "example.org"], true, "order 1 is undone: suspend domain"),
        (&["resume", "domain", "example.org"], false, "domain example.org is not suspended"),
        (&["undo", "2"], true, "order 2 is undone: reroute all to warm"),
        (&["undo", "2"], false, "order 2 does not hold"),
        (&["suspend", "campaign", "c1"], false, "there is no campaign c1"),
        (&["suspend", "campaign", "12"], false, "\"12\" is not a campaign: write c12"),
        (&["bounce", "all"], false, "bounce all is not possible; possible: site, tenant"),
        (&["retry", "site"], false, "site needs a name"),
        (&["drain", "relay-z"], false, "no relay \"relay-z\" is registered"),
        (&["restore", "c1"], false, "nothing is set aside as \"c1\""),
        (&["cancel", "c1"], false, "there is no campaign c1"),
    ];
    for (words, is_good, says) in cases {
        let mut command = malleposte(folder.path());
        command.arg("queue").args(words);
        if !matches!(words[0], "orders" | "asides") {
            command.args(["--why", "the test says so", "--by", "ann"]);
        }
        let (output, out, err) = run(&mut command);
        assert_eq!(output.status.success(), is_good, "{words:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(says), "{words:?}: {out}{err}");
    }
    let (output, _, err) =
        run(malleposte(folder.path()).args(["queue", "suspend", "all", "--why", " "]));
    assert!(!output.status.success() && err.contains("say in a line why"), "{err}");
    kill(redis.id(), Signal::TERM);
    redis.wait().expect("it ends");
    assert!(gone_within(Duration::from_secs(5), &socket));
}
