//! What the kernel writes about a host, read: pressure (PSI), processor time, memory, control
//! groups. Text in, figures out; what does not read is no figure.

/// Processor time since the start of the host, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ticks {
    pub(super) all: u64,
    /// Taken by somebody; what gives way to everybody (`nice`) is not.
    pub(super) busy: u64,
}

/// Microseconds in which `who`, "some" or "full", waited (Documentation/accounting/psi.rst).
pub(super) fn stalled_us(pressure: &str, who: &str) -> Option<u64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(' '))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// The first line of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal.
/// What a hypervisor takes is taken. Kernels from before 2.6.11 lack some of them.
pub(super) fn processors(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().take(8).map(|f| f.parse().ok()).collect::<Option<_>>()?;
    let [_, nice, _, idle, ..] = fields[..] else { return None };
    let all = fields.iter().sum();
    let free = nice + idle + fields.get(4).unwrap_or(&0);
    Some(Ticks { all, busy: all - free })
}

/// Ticks that a process has used, from its stat file. The name may hold anything.
pub(super) fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The part of a host's memory that is used, from /proc/meminfo.
pub(super) fn memory_used(meminfo: &str) -> Option<f64> {
    let all = named(meminfo, "MemTotal:")?;
    let left = named(meminfo, "MemAvailable:")?;
    (all > 0).then(|| 1.0 - left.min(all) as f64 / all as f64)
}

/// The part of a control group's memory that is used. `idle`: files that can be read again.
pub(super) fn group_memory_used(limit: &str, usage: &str, idle: u64) -> Option<f64> {
    // No limit is `max`, or a number that no host has.
    let limit: u64 = limit.trim().parse().ok().filter(|limit| (1..1 << 60).contains(limit))?;
    let usage: u64 = usage.trim().parse().ok()?;
    Some(usage.saturating_sub(idle) as f64 / limit as f64)
}

/// A number by its name, as in /proc/meminfo and memory.stat.
pub(super) fn named(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The path of a process's control group: of version 2, or of version 1's controller `memory`.
pub(super) fn group<'a>(cgroup: &'a str, controller: &str) -> Option<&'a str> {
    let path = cgroup.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|c| c == controller).then_some(path)
    });
    // Somebody else's part of the tree, as seen out of a namespace, is not to be found by it.
    path.filter(|path| *path != "/" && !path.contains(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESSURE: &str = "some avg10=16.03 avg60=8.82 avg300=4.05 total=20379576\n\
                            full avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";

    #[test]
    fn pressure_is_read_and_what_is_none_is_not() {
        assert_eq!(stalled_us(PRESSURE, "some"), Some(20_379_576));
        assert_eq!(stalled_us(PRESSURE, "full"), Some(17));
        // Kernels before 5.13 have no `full` for processors.
        assert_eq!(stalled_us("some avg10=0.00 total=3\n", "full"), None);
        for broken in
            ["", "some", "some total=", "some total=-1", "some total=x", "something total=1"]
        {
            assert_eq!(stalled_us(broken, "some"), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_stolen_or_nice_is_told_apart() {
        let stat = "cpu  100 10 50 800 30 1 2 7 5 5\ncpu0 1 1 1 1\nintr 5\n";
        assert_eq!(processors(stat), Some(Ticks { all: 1000, busy: 160 }));
        assert_eq!(processors("cpu  1 0 1 8\n"), Some(Ticks { all: 10, busy: 2 }));
        for broken in ["", "cpu  1 2 3\n", "cpu  a b c d\n", "cpu0 1 2 3 4\n"] {
            assert_eq!(processors(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 120 30 9 9 20 0 1 0 9";
        assert_eq!(process_ticks(stat), Some(150));
        assert_eq!(process_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_of_hosts_and_of_groups() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:         10 kB\nMemAvailable:    250 kB\n";
        assert_eq!(memory_used(meminfo), Some(0.75));
        assert_eq!(memory_used("MemTotal:       0 kB\nMemAvailable:    0 kB\n"), None);
        assert_eq!(memory_used("MemTotal:       1000 kB\n"), None);
        assert_eq!(group_memory_used("1000\n", "900\n", 400), Some(0.5));
        assert_eq!(group_memory_used("max\n", "900\n", 0), None);
        assert_eq!(group_memory_used("9223372036854771712\n", "900\n", 0), None);
        assert_eq!(named("inactive_file 4096\nactive_file 7\n", "inactive_file"), Some(4096));
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let hybrid = "4:memory:/pods/a\n3:cpu,cpuacct:/\n0::/\n";
        assert_eq!(group(hybrid, "memory"), Some("/pods/a"));
        assert_eq!(group(hybrid, ""), None);
        assert_eq!(group("0::/system.slice/malleposte-relay.service\n", "memory"), None);
        let v2 = "0::/system.slice/malleposte-relay.service\n";
        assert_eq!(group(v2, ""), Some("/system.slice/malleposte-relay.service"));
        assert_eq!(group("0::/../../other\n", ""), None);
    }
}
