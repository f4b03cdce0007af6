//! The host as its kernel tells of it: what others take of its processors, memory, and who waits
//! for what. Nothing here waits: these files lie in no disk, and reading all of them takes some
//! fifty microseconds. What is not there gives no figure, and something else stands in for it.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail::load::{Config, Sample, Signal};

use super::kernel::{self, Ticks};
use super::window::Window;

/// Figures are averages over so long: long enough for a hundred ticks of each processor.
const SPAN: Duration = Duration::from_secs(3);
/// Between two looks at which processes there are.
const LISTED: Duration = Duration::from_secs(10);
/// Processes that are looked at then, and those of this platform that are followed.
const PROCESSES_MAX: usize = 4000;
const OWN_MAX: usize = 64;
/// Processors are full from the first of these on, and that is sure from the second on: a part of
/// the time in which one was taken, or in which somebody waited for one (PSI `some`).
const FULL_FROM: (f64, f64) = (0.85, 0.97);
const WAITED_FROM: (f64, f64) = (0.2, 0.6);

/// Where figures are read, and what was read before.
pub(super) struct Host {
    proc: PathBuf,
    /// This process's control group of version 2, if it has one of its own.
    group: Option<PathBuf>,
    /// Folder, names of limit and usage, and the idle files' name in memory.stat.
    memory: Option<(PathBuf, [&'static str; 3])>,
    programs: Programs,
    processors: Window<(Ticks, u64)>,
    waits: HashMap<&'static str, Window<u64>>,
}

impl Host {
    pub(super) fn new(config: &Config) -> Self {
        let proc = config.proc_folder.clone();
        let groups = read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let below = |folder: PathBuf, path: &str| folder.join(path.trim_start_matches('/'));
        let unified = |path| below(config.cgroup_folder.clone(), path);
        let group = kernel::group(&groups, "").map(unified);
        let v1 = kernel::group(&groups, "memory");
        let memory = match (&group, v1) {
            (_, Some(path)) => Some((
                below(config.cgroup_folder.join("memory"), path),
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
            )),
            (Some(group), None) => {
                Some((group.clone(), ["memory.max", "memory.current", "inactive_file"]))
            }
            (None, None) => None,
        };
        Self {
            proc,
            group,
            memory,
            programs: Programs::default(),
            processors: Window::of(SPAN),
            waits: HashMap::new(),
        }
    }

    /// Adds what can be read now.
    pub(super) fn read(&mut self, now: Duration, sample: Sample) -> Sample {
        let waited = self.waited(now, "cpu", "some");
        sample
            .with(Signal::Processor, self.taken_by_others(now, waited))
            .with(Signal::Memory, self.memory_used())
            .with(Signal::MemoryStall, self.waited(now, "memory", "some"))
            .with(Signal::DiskStall, self.waited(now, "io", "full"))
    }

    /// The part of the time in which somebody waited: in this process's group, or on the host.
    fn waited(&mut self, now: Duration, what: &'static str, who: &str) -> Option<f64> {
        let group = self.group.as_ref().map(|group| group.join(format!("{what}.pressure")));
        let own = group.and_then(|file| read_to_string(file).ok());
        let text = own.or_else(|| read_to_string(self.proc.join("pressure").join(what)).ok());
        let window = self.waits.entry(what).or_insert_with(|| Window::of(SPAN));
        let Some(total) = text.and_then(|text| kernel::stalled_us(&text, who)) else {
            window.clear();
            return None;
        };
        let (since, before) = window.push(now, total)?;
        let waited = total.checked_sub(before)? as f64;
        Some((waited / since.as_micros() as f64).min(1.0))
    }

    /// The part of all processors that others took, as far as none was idle. Who has the host to
    /// himself, or leaves some of it, takes nothing away.
    fn taken_by_others(&mut self, now: Duration, waited: Option<f64>) -> Option<f64> {
        let ticks = read_to_string(self.proc.join("stat")).ok();
        let Some(ticks) = ticks.and_then(|text| kernel::processors(&text)) else {
            self.processors.clear();
            return None;
        };
        let own = self.programs.ticks(&self.proc, now);
        let (_, (before, own_before)) = self.processors.push(now, (ticks, own))?;
        let all = ticks.all.checked_sub(before.all).filter(|all| *all > 0)? as f64;
        let busy = ticks.busy.saturating_sub(before.busy) as f64 / all;
        let others = (busy - own.saturating_sub(own_before) as f64 / all).clamp(0.0, 1.0);
        let full = between(busy, FULL_FROM).max(between(waited.unwrap_or(0.0), WAITED_FROM));
        Some(others * full)
    }

    /// Of the control group's limit or of the host's memory: what is nearer to its end.
    fn memory_used(&self) -> Option<f64> {
        let meminfo = read_to_string(self.proc.join("meminfo")).ok();
        let of_host = meminfo.and_then(|text| kernel::memory_used(&text));
        of_host.into_iter().chain(self.group_memory_used()).reduce(f64::max)
    }

    fn group_memory_used(&self) -> Option<f64> {
        let (folder, [limit, usage, idle]) = self.memory.as_ref()?;
        let read = |name: &str| read_to_string(folder.join(name)).ok();
        let stat = read("memory.stat").unwrap_or_default();
        let idle = kernel::named(&stat, idle).unwrap_or(0);
        kernel::group_memory_used(&read(limit)?, &read(usage)?, idle)
    }
}

fn between(value: f64, (from, full): (f64, f64)) -> f64 {
    ((value - from) / (full - from)).clamp(0.0, 1.0)
}

/// This platform's programs on this host: this one, others of its name and Redis. What they take
/// they take for mail.
#[derive(Default)]
struct Programs {
    listed_at: Option<Duration>,
    /// Ticks that each had used when it was last looked at.
    known: HashMap<String, u64>,
    /// Ticks of all of them since the first look.
    used: u64,
}

impl Programs {
    fn ticks(&mut self, proc: &Path, now: Duration) -> u64 {
        if self.listed_at.is_none_or(|at| now.saturating_sub(at) >= LISTED || at > now) {
            self.listed_at = Some(now);
            let listed = Self::list(proc);
            self.known.retain(|id, _| listed.contains(id));
            for id in listed {
                let used = Self::of(proc, &id).unwrap_or(0);
                self.known.entry(id).or_insert(used);
            }
        }
        for (id, before) in &mut self.known {
            if let Some(used) = Self::of(proc, id) {
                self.used += used.saturating_sub(*before);
                *before = used;
            }
        }
        self.used
    }

    fn of(proc: &Path, id: &str) -> Option<u64> {
        kernel::process_ticks(&read_to_string(proc.join(id).join("stat")).ok()?)
    }

    fn list(proc: &Path) -> Vec<String> {
        let name = |id: &str| read_to_string(proc.join(id).join("comm")).ok();
        let own = name("self");
        let own_id = std::process::id().to_string();
        let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let is_ours = |id: &String| {
            let named = name(id);
            let is_redis = named
                .as_deref()
                .is_some_and(|name| matches!(name.trim_end(), "redis-server" | "valkey-server"));
            *id != own_id && (is_redis || (named.is_some() && named == own))
        };
        let processes = ids.filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
        let ours = processes.take(PROCESSES_MAX).filter(is_ours).take(OWN_MAX);
        std::iter::once("self".to_owned()).chain(ours).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A host whose files this test writes.
    struct Pretended(tempfile::TempDir);

    impl Pretended {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().expect("a folder"));
            host.write("proc/self/comm", "malleposte\n");
            host
        }

        fn write(&self, name: &str, text: &str) {
            let file = self.0.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        }

        fn host(&self) -> Host {
            let folder = |name: &str| self.0.path().join(name);
            let (proc_folder, cgroup_folder) = (folder("proc"), folder("cgroup"));
            Host::new(&Config { proc_folder, cgroup_folder, ..Config::default() })
        }

        /// Ticks of all, of idle, of this process and of other programs of its platform.
        fn ran(&self, busy: u64, idle: u64, own: u64, redis: u64) {
            self.write("proc/stat", &format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n"));
            let stat = |used| format!("9 (malleposte) S 1 9 9 0 -1 0 1 0 0 0 {used} 0 0 0 20\n");
            self.write("proc/self/stat", &stat(own));
            self.write("proc/4711/comm", "redis-server\n");
            self.write("proc/4711/stat", &stat(redis));
            self.write("proc/4712/comm", "stress\n");
            self.write("proc/4712/stat", &stat(busy - own - redis));
        }

        fn waits(&self, what: &str, some_us: u64, full_us: u64) {
            let line = |who, us| format!("{who} avg10=0.00 avg60=0.00 avg300=0.00 total={us}\n");
            let text = line("some", some_us) + &line("full", full_us);
            self.write(&format!("proc/pressure/{what}"), &text);
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn close_to(value: Option<f64>, wanted: f64) -> bool {
        value.is_some_and(|value| (value - wanted).abs() < 1e-6)
    }

    #[test]
    fn a_host_that_tells_nothing_gives_no_figures() {
        let pretended = Pretended::new();
        let mut host = pretended.host();
        for second in 1..5 {
            assert_eq!(host.read(at(second), Sample::default()), Sample::default());
        }
        pretended.write("proc/pressure/cpu", "what is this\n");
        pretended.write("proc/stat", "cpu  full\n");
        assert_eq!(host.read(at(5), Sample::default()), Sample::default());
    }

    #[test]
    fn a_relay_that_fills_its_host_is_busy_and_one_among_others_is_pressed() {
        let pretended = Pretended::new();
        let mut host = pretended.host();
        let mut processor =
            |second| host.read(at(second), Sample::default()).get(Signal::Processor);
        pretended.ran(1000, 1000, 500, 100);
        assert_eq!(processor(10), None, "nothing to compare with");
        pretended.ran(1600, 1000, 900, 300);
        assert!(close_to(processor(13), 0.0), "all of it is this platform's");
        pretended.ran(2200, 1000, 960, 360);
        assert!(close_to(processor(16), 0.8));
        // Others take as much, and there is room for everybody.
        pretended.ran(2680, 1220, 960, 360);
        assert!(close_to(processor(19), 0.0));
    }

    #[test]
    fn who_waits_for_a_processor_is_pressed_although_some_are_idle() {
        let pretended = Pretended::new();
        let mut host = pretended.host();
        let mut processor =
            |second| host.read(at(second), Sample::default()).get(Signal::Processor);
        pretended.ran(1000, 1000, 100, 100);
        pretended.waits("cpu", 5_000_000, 0);
        processor(10);
        pretended.ran(1700, 1300, 100, 100);
        pretended.waits("cpu", 8_000_000, 0);
        assert!(close_to(processor(13), 0.7));
    }

    #[test]
    fn waiting_is_told_by_the_kernel_and_a_counter_that_goes_back_tells_nothing() {
        let pretended = Pretended::new();
        let mut host = pretended.host();
        let mut read = |second| {
            let sample = host.read(at(second), Sample::default());
            (sample.get(Signal::MemoryStall), sample.get(Signal::DiskStall))
        };
        pretended.waits("memory", 100, 0);
        pretended.waits("io", 0, 0);
        assert_eq!(read(1), (None, None));
        pretended.waits("memory", 1_500_100, 9);
        pretended.waits("io", 2_900_000, 600_000);
        let (memory, io) = read(4);
        assert!(close_to(memory, 0.5) && close_to(io, 0.2), "{memory:?} {io:?}");
        pretended.waits("memory", 0, 0);
        assert_eq!(read(5).0, None);
    }

    #[test]
    fn the_nearer_end_of_memory_counts_and_a_group_knows_its_own_waiting() {
        let pretended = Pretended::new();
        pretended.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 300 kB\n");
        let of = |pretended: &Pretended| {
            pretended.host().read(at(1), Sample::default()).get(Signal::Memory)
        };
        assert!(close_to(of(&pretended), 0.7));
        pretended.write("proc/self/cgroup", "0::/system.slice/relay.service\n");
        pretended.write("cgroup/system.slice/relay.service/memory.max", "1000\n");
        pretended.write("cgroup/system.slice/relay.service/memory.current", "950\n");
        pretended.write("cgroup/system.slice/relay.service/memory.stat", "inactive_file 100\n");
        assert!(close_to(of(&pretended), 0.85));
        pretended.write("cgroup/system.slice/relay.service/memory.max", "max\n");
        assert!(close_to(of(&pretended), 0.7));

        let mut host = pretended.host();
        pretended.waits("io", 0, 0);
        let pressure = "cgroup/system.slice/relay.service/io.pressure";
        pretended.write(pressure, "full total=0\n");
        host.read(at(1), Sample::default());
        pretended.waits("io", 2_000_000, 2_000_000);
        pretended.write(pressure, "full total=200000\n");
        let stalled = host.read(at(3), Sample::default()).get(Signal::DiskStall);
        assert!(close_to(stalled, 0.1), "{stalled:?}");
    }

    #[test]
    fn this_host_tells_something() {
        let mut host = Host::new(&Config::default());
        host.read(at(1), Sample::default());
        let sample = host.read(at(2), Sample::default());
        assert!(sample.get(Signal::Memory).is_some_and(|used| used > 0.0 && used < 1.0));
    }
}
