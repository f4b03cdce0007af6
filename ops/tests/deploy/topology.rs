//! What docker-compose.yml says, run as plain processes: every service in a network namespace
//! with the address, the name, the mounts, the secrets, the user and the command that compose
//! gives it. No container engine is needed; root is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::deploy::compose::{Compose, Service, make_secrets};

/// The host as the namespaces see it, where an engine's gateway would be.
pub(crate) const GATEWAY: &str = "172.29.25.1";
/// A service that is not healthy by then never will be.
const HEALTHY_WITHIN: Duration = Duration::from_secs(40);

/// Enters what a container would be: an own root over the host's files, with the mounts.
/// ROOT is a folder of the service; MOUNTS are `host inside` lines; the rest is the command.
const ENTER: &str = r#"
set -eu
root=$1 name=$2 user=$3; shift 3
hostname "$name"
mount -t tmpfs tmpfs "$root/over"
mkdir "$root/over/upper" "$root/over/work" "$root/over/whole"
whole=$root/over/whole
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/over/upper,workdir=$root/over/work" "$whole"
mount --rbind /proc "$whole/proc"
mount --rbind /dev "$whole/dev"
mount -t tmpfs tmpfs "$whole/run"
cp "$root/hosts" "$whole/etc/hosts"
rm -f "$whole/etc/resolv.conf"
cp "$root/resolv.conf" "$whole/etc/resolv.conf"
while read -r host inside; do
    if [ -d "$host" ]; then mkdir -p "$whole$inside"
    else mkdir -p "$(dirname "$whole$inside")"; rm -f "$whole$inside"; touch "$whole$inside"; fi
    mount --bind "$host" "$whole$inside"
done <"$root/mounts"
exec chroot "$whole" setpriv --pdeathsig KILL --reuid "$user" --regid "$user" --clear-groups "$@"
"#;

pub(crate) struct Topology {
    compose: Compose,
    folder: tempfile::TempDir,
    /// Begins the name of everything that must go at the end.
    tag: String,
    running: BTreeMap<String, Child>,
    /// Settings for a trial, beside those of compose.
    extra: BTreeMap<String, String>,
}

/// `ip`, which must succeed.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Topology {
    /// The network of compose, with nobody in it yet.
    pub(crate) fn new(extra: BTreeMap<String, String>) -> Self {
        sweep();
        let tag = format!("mpt{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let this = Self { compose: Compose::read(), folder, tag, running: BTreeMap::new(), extra };
        make_secrets(&this.folder.path().join("secrets"));
        let (tag, switch) = (&this.tag, this.namespace("switch"));
        ip(&format!("netns add {switch}"));
        ip(&format!("-n {switch} link add br0 type bridge"));
        ip(&format!("-n {switch} link set br0 up"));
        this.plug(None, tag, &format!("{GATEWAY}/24"));
        // The pretend internet's mail exchangers have loopback addresses of this host.
        sysctl(None, &format!("net.ipv4.conf.{tag}.route_localnet=1"));
        sysctl(None, &format!("net.ipv4.conf.{tag}.rp_filter=0"));
        let names: Vec<String> = this.services().map(|s| s.name.clone()).collect();
        for name in &names {
            this.prepare(&this.compose.services[name]);
        }
        this
    }

    /// The services that run here: all but the two that only look on.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        let looks_on = |s: &&Service| s.name == "prometheus" || s.name == "grafana";
        self.compose.services.values().filter(move |s| !looks_on(s))
    }

    pub(crate) fn address(&self, name: &str) -> &str {
        &self.compose.services[name].address
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.folder.path().join("secrets").join(name)
    }

    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A cable from the switch to a namespace, or to this host.
    fn plug(&self, namespace: Option<&str>, device: &str, address: &str) {
        let switch = self.namespace("switch");
        let port = format!("p{}", address.split(['.', '/']).nth(3).unwrap());
        ip(&format!("-n {switch} link add {port} type veth peer name {device}x"));
        ip(&format!("-n {switch} link set {port} master br0 up"));
        let to = namespace.map_or("1".to_owned(), str::to_owned);
        ip(&format!("-n {switch} link set {device}x netns {to} name {device}"));
        let inside = namespace.map_or(String::new(), |n| format!("-n {n} "));
        ip(&format!("{inside}address add {address} dev {device}"));
        ip(&format!("{inside}link set {device} up"));
    }

    fn prepare(&self, service: &Service) {
        let (name, root) = (&service.name, self.root(&service.name));
        let namespace = self.namespace(name);
        ip(&format!("netns add {namespace}"));
        ip(&format!("-n {namespace} link set lo up"));
        self.plug(Some(&namespace), "eth0", &format!("{}/24", service.address));
        for key in ["all", "eth0"] {
            sysctl(Some(&namespace), &format!("net.ipv4.conf.{key}.rp_filter=0"));
            sysctl(Some(&namespace), &format!("net.ipv4.conf.{key}.route_localnet=1"));
        }
        // Of loopback only one address is here; the mail exchangers are behind the gateway.
        ip(&format!("-n {namespace} route del local 127.0.0.0/8 dev lo table local"));
        ip(&format!("-n {namespace} route replace local 127.0.0.1 dev lo table local"));
        ip(&format!("-n {namespace} route add 127.0.0.0/16 via {GATEWAY} dev eth0"));

        std::fs::create_dir_all(root.join("over")).unwrap();
        let hosts: String =
            self.compose.services.values().map(|s| format!("{} {}\n", s.address, s.name)).collect();
        std::fs::write(root.join("hosts"), format!("127.0.0.1 localhost\n{hosts}")).unwrap();
        std::fs::write(root.join("resolv.conf"), format!("nameserver {GATEWAY}\n")).unwrap();
        let mut mounts = String::new();
        let mut mount = |host: &Path, inside: &str| {
            mounts.push_str(&format!("{} {inside}\n", host.display()));
        };
        for (host, inside) in &service.mounts {
            if host.starts_with("./") {
                mount(&service.on_host(inside).unwrap(), inside);
            } else {
                let volume = self.folder.path().join("volumes").join(host);
                std::fs::create_dir_all(&volume).unwrap();
                let user = user_of(service);
                std::os::unix::fs::chown(&volume, Some(user), Some(user)).unwrap();
                mount(&volume, inside);
            }
        }
        for secret in &service.secrets {
            mount(&self.secret(secret), &format!("/run/secrets/{secret}"));
        }
        if service.is_ours() {
            let program = Path::new(env!("CARGO_BIN_EXE_malleposte"));
            mount(program, "/usr/local/bin/malleposte");
        }
        std::fs::write(root.join("mounts"), mounts).unwrap();
    }

    /// A command in the service's namespace, under its user, on its files.
    fn inside(&self, service: &Service, words: &[String]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(&service.name)]);
        command.args(["unshare", "--mount", "--uts", "--propagation", "private"]);
        command.args(["sh", "-c", ENTER, "enter"]).arg(self.root(&service.name));
        command.args([&service.name, &user_of(service).to_string()]).args(words);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(&service.environment).stdin(Stdio::null());
        if service.is_ours() {
            command.envs(&self.extra);
        }
        command
    }

    /// A command of our program beside a service, as `docker compose exec` runs it.
    pub(crate) fn exec(&self, name: &str, words: &[&str]) -> Output {
        let words: Vec<String> =
            std::iter::once("malleposte").chain(words.iter().copied()).map(str::to_owned).collect();
        self.inside(&self.compose.services[name], &words).output().unwrap()
    }

    /// Starts everything in the order that compose asks for, each when those that it waits
    /// for are healthy.
    pub(crate) fn start(&mut self) {
        let mut waiting: BTreeSet<String> = self.services().map(|s| s.name.clone()).collect();
        while !waiting.is_empty() {
            let free = |name: &&String| {
                let depends = &self.compose.services[*name].depends_on;
                depends.keys().all(|other| !waiting.contains(other))
            };
            let batch: Vec<String> = waiting.iter().filter(free).cloned().collect();
            assert!(!batch.is_empty(), "{waiting:?} wait for one another");
            for name in &batch {
                self.start_one(name);
            }
            for name in &batch {
                self.await_health(name);
                waiting.remove(name);
            }
        }
    }

    fn start_one(&mut self, name: &str) {
        let service = &self.compose.services[name];
        let mut words = service.command.clone();
        if service.is_ours() {
            words.insert(0, "malleposte".into());
        }
        let log = std::fs::File::create(self.log(name)).unwrap();
        let mut command = self.inside(service, &words);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.running.insert(name.to_owned(), child);
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    pub(crate) fn told(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    /// Asks as compose's health check does.
    fn await_health(&mut self, name: &str) {
        let began = Instant::now();
        loop {
            let ended = self.running.get_mut(name).unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended with {ended:?}:\n{}", self.told(name));
            let service = &self.compose.services[name];
            let asked = self.inside(service, &service.health[1..]).output().unwrap();
            if asked.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&asked.stderr).into_owned();
            let waited = began.elapsed();
            assert!(waited < HEALTHY_WITHIN, "{name}: {said}\n{}", self.told(name));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Pulls the cable.
    pub(crate) fn cut_off(&self, name: &str) {
        ip(&format!("-n {} link set eth0 down", self.namespace(name)));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{name}: {status}\n{}", self.told(name));
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        remove(&self.tag);
    }
}

/// The user that the image, or compose, runs a service as.
fn user_of(service: &Service) -> u32 {
    match service.image.split(':').next().unwrap() {
        "malleposte" => 10001,
        _ => 999,
    }
}

fn sysctl(namespace: Option<&str>, setting: &str) {
    let (key, value) = setting.split_once('=').unwrap();
    let file = format!("/proc/sys/{}", key.replace('.', "/"));
    let write = format!("echo {value} > {file}");
    let mut command = match namespace {
        Some(name) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name, "sh"]);
            command
        }
        None => Command::new("sh"),
    };
    let output = command.args(["-c", &write]).output().unwrap();
    assert!(output.status.success(), "{setting}: {}", String::from_utf8_lossy(&output.stderr));
}

fn namespaces() -> Vec<String> {
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed.lines().filter_map(|l| l.split(' ').next().map(str::to_owned)).collect()
}

/// The cables go with the namespaces.
fn remove(tag: &str) {
    let prefix = format!("{tag}-");
    for name in namespaces().iter().filter(|n| n.starts_with(&prefix)) {
        let _ = Command::new("ip").args(["netns", "del", name]).status();
    }
    let _ = Command::new("ip").args(["link", "del", tag]).stderr(Stdio::null()).status();
}

/// What a run that was killed has left: its process is gone.
fn sweep() {
    let tags: BTreeSet<String> = namespaces()
        .iter()
        .filter_map(|n| n.split_once('-').map(|(tag, _)| tag.to_owned()))
        .filter(|tag| {
            let pid = tag.strip_prefix("mpt").and_then(|p| p.parse::<u32>().ok());
            pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        })
        .collect();
    tags.iter().for_each(|tag| remove(tag));
}
