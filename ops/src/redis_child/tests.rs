//! Promises of the private Redis, kept against a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id")).expect("not zero")
}

/// What CONFIG GET says: an array of two strings, each after its length.
async fn setting(socket: &Path, key: &str) -> String {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let mut stream = tokio::net::UnixStream::connect(socket).await.expect("it listens");
    stream.write_all(format!("CONFIG GET {key}\r\n").as_bytes()).await.expect("asked");
    let mut lines = BufReader::new(stream).lines();
    let mut line = async || lines.next_line().await.expect("an answer").expect("a line");
    for expected in ["*2", &format!("${}", key.len()), key] {
        assert_eq!(line().await, expected);
    }
    let _length = line().await;
    line().await
}

/// Waits, within bounds, until `probe` is content.
async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !probe().await {
        assert!(Instant::now() < deadline, "{what} did not come about within 20 s");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn after_kill_9_the_server_is_back_at_the_same_place_with_its_data() {
    let data = folder();
    let redis = RedisChild::start(&Config::default(), data.path()).await.expect("started");
    let (socket, url, first) = (redis.launcher.socket.clone(), redis.url(), redis.pid());
    assert_eq!(ask(&socket, "SET horse tired").await.expect("an answer"), "+OK");

    let (pid, stop) = (redis.pid_cell(), CancellationToken::new());
    let supervisor = tokio::spawn(redis.supervise(stop.clone()));
    kill_process(pid_of(first), Signal::KILL).expect("killed");
    until("another server", async || {
        let now = pid.load(Ordering::Relaxed);
        now != 0 && now != first
    })
    .await;
    assert_eq!(ask(&socket, "EXISTS horse").await.expect("an answer"), ":1");
    assert_eq!(running(data.path()), Some(url));

    stop.cancel();
    supervisor.await.expect("no panic").expect("an orderly end");
    assert!(!socket.exists());
    assert_eq!(running(data.path()), None);
}

#[tokio::test]
async fn two_on_one_data_folder_refuse_each_other_and_name_the_owner() {
    let data = folder();
    let first = RedisChild::start(&Config::default(), data.path()).await.expect("started");
    let error = RedisChild::start(&Config::default(), data.path()).await.expect_err("refused");
    let text = format!("{error:#}");
    assert!(text.contains("is in use by process"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    first.stop().await.expect("an orderly end");
    let next = RedisChild::start(&Config::default(), data.path()).await.expect("free again");
    next.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn the_queue_keeps_every_key_and_syncs_before_it_answers() {
    let data = folder();
    let redis = RedisChild::start(&Config::default(), data.path()).await.expect("started");
    let socket = redis.launcher.socket.clone();
    for (key, value) in [
        ("maxmemory-policy", "noeviction"),
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("save", ""),
        ("port", "0"),
    ] {
        assert_eq!(setting(&socket, key).await, value, "{key}");
    }
    assert!(data.path().join("redis/appendonlydir").is_dir(), "an AOF is written");
    let mode = |name: &str| {
        let meta = fs::metadata(data.path().join("redis").join(name)).expect("there");
        meta.permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("redis.sock"), mode("lock")), (0o700, 0o700, 0o600));
    redis.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn a_missing_server_is_one_line_that_says_what_to_do() {
    let config = Config { server_binary: Some("/no/such/server".into()), ..Config::default() };
    let error = RedisChild::start(&config, folder().path()).await.expect_err("none");
    assert_eq!(format!("{error:#}"), "`redis.server_binary`: \"/no/such/server\" is not a program");
}

#[tokio::test]
async fn a_data_folder_with_a_long_name_or_an_odd_one_works() {
    let data = folder();
    let long = data.path().join("a b%41".repeat(30));
    let redis = RedisChild::start(&Config::default(), &long).await.expect("started");
    assert!(redis.launcher.socket.as_os_str().len() < 100);
    assert_eq!(running(&long), Some(redis.url()));
    redis.stop().await.expect("an orderly end");

    let odd = data.path().join("a b%41");
    let redis = RedisChild::start(&Config::default(), &odd).await.expect("started");
    assert!(redis.url().ends_with("/a%20b%2541/redis/redis.sock"), "{}", redis.url());
    redis.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn a_damaged_aof_is_explained_and_left_as_it_is() {
    let data = folder();
    let redis = RedisChild::start(&Config::default(), data.path()).await.expect("started");
    ask(&redis.launcher.socket, "SET horse tired").await.expect("an answer");
    redis.stop().await.expect("an orderly end");
    let aof_dir = data.path().join("redis/appendonlydir");
    let aof = fs::read_dir(&aof_dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.extension().is_some_and(|e| e == "aof") && path.to_string_lossy().contains("incr")
        })
        .expect("an AOF");
    fs::write(&aof, "*1\r\n$4\r\nruin\r\n*x\r\nrubbish\r\nrubbish\r\nrubbish\r\n")
        .expect("written");
    let error = RedisChild::start(&Config::default(), data.path()).await.expect_err("refused");
    let text = format!("{error:#}");
    assert!(text.contains("AOF is damaged") && text.contains("redis-check-aof"), "{text}");
    assert!(fs::read_to_string(&aof).expect("there").contains("rubbish"));
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn a_dropped_child_does_not_stay_behind() {
    let data = folder();
    let redis = RedisChild::start(&Config::default(), data.path()).await.expect("started");
    let pid = pid_of(redis.pid());
    drop(redis);
    until("its end", async || test_kill_process(pid).is_err()).await;
}
