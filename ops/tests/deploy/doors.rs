//! HAProxy, Prometheus and Grafana: what they name is a service, a port, a metric of ours.

use std::collections::{BTreeSet, HashMap};
use std::process::Command;

use ops::config::Config;
use serde_json::Value;

use crate::deploy::compose::{Compose, make_secrets, root, text, yaml};

fn configs(compose: &Compose) -> HashMap<String, Config> {
    let secrets = tempfile::tempdir().unwrap();
    make_secrets(secrets.path());
    compose.ours().map(|s| (s.name.clone(), s.config(secrets.path()))).collect()
}

#[test]
fn haproxy_reads_its_file() {
    let mut check = Command::new("haproxy");
    check.args(["-c", "-f", "ops/deploy/haproxy.cfg"]).current_dir(root());
    let output = check.output().expect("haproxy is there: ops/install.sh --tests");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The only thing to warn of: here no engine resolves names.
    let odd = said.lines().filter(|l| l.contains("[WARNING]"));
    let odd: Vec<_> = odd.filter(|l| !l.contains("could not resolve address")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn haproxy_leads_to_ports_that_services_listen_on_and_waits_longer_than_they_do() {
    let compose = Compose::read();
    let configs = configs(&compose);
    let haproxy = text("ops/deploy/haproxy.cfg");
    let (mut backend, mut led) = (String::new(), Vec::new());
    for words in haproxy.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()) {
        match words.as_slice() {
            ["backend", name] => backend = (*name).to_owned(),
            ["server", name, address, ..] => {
                let (host, port) = address.split_once(':').unwrap();
                assert_eq!(*name, host);
                let config = configs.get(host).unwrap_or_else(|| panic!("no service {host}"));
                let listen = match backend.as_str() {
                    "api" => config.api.listen,
                    "bounces" => config.bounces.listen,
                    other => panic!("backend {other}"),
                };
                assert!(listen.ip().is_unspecified() && listen.port().to_string() == port);
                led.push(host);
            }
            ["timeout", "server", time] if backend == "api" => {
                let seconds: u64 = time.trim_end_matches('s').parse().unwrap();
                let api = &configs["api-1"].api;
                assert!(seconds > api.close_wait_s.max(api.upload_idle_s), "{seconds}");
            }
            ["default-server", words @ ..] if backend == "bounces" => {
                let at = words.iter().position(|w| *w == "maxconn").unwrap();
                let max: usize = words[at + 1].parse().unwrap();
                let bounces = &configs["bounces"].bounces;
                assert!(max < bounces.connections_max);
                assert!(max < bounces.connections_per_client_max, "HAProxy is the only client");
            }
            _ => {}
        }
    }
    assert_eq!(led, ["api-1", "api-2", "bounces"]);
}

#[test]
fn published_ports_are_listened_on() {
    let compose = Compose::read();
    let haproxy = text("ops/deploy/haproxy.cfg");
    let mut published = Vec::new();
    for service in compose.services.values() {
        for port in &service.ports {
            let inside = port.rsplit(':').next().unwrap();
            let is_bound = match service.name.as_str() {
                "haproxy" => haproxy.lines().any(|l| l.trim() == format!("bind :{inside}")),
                "grafana" => inside == "3000",
                other => panic!("{other} publishes {port}"),
            };
            assert!(is_bound, "{}: nobody listens on {inside}", service.name);
            // An internal network publishes nothing.
            assert!(service.networks.iter().any(|n| n == "outside"), "{}", service.name);
            published.push(port.as_str());
        }
    }
    assert_eq!(
        published,
        ["3000", "8025", "2525"]
            .map(|p| { *published.iter().find(|all| all.ends_with(p)).unwrap() })
    );
    // Plain HTTP and a page that needs a password: for this host only.
    for port in published.iter().filter(|p| !p.ends_with("2525")) {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
}

#[test]
fn prometheus_asks_every_service_of_ours_where_it_answers() {
    let compose = Compose::read();
    let configs = configs(&compose);
    let prometheus = yaml("ops/deploy/prometheus.yml");
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    let targets = |job: &Value| -> BTreeSet<String> {
        let hosts = job["static_configs"][0]["targets"].as_array().unwrap();
        hosts.iter().map(|t| t.as_str().unwrap().to_owned()).collect()
    };
    let ours = configs.iter().map(|(name, config)| {
        let listen = config.metrics.listen.0.expect("metrics are on");
        assert!(listen.ip().is_unspecified());
        format!("{name}:{}", listen.port())
    });
    assert_eq!(targets(&jobs[0]), ours.collect());
    assert_eq!(targets(&jobs[1]), BTreeSet::from(["haproxy:8405".to_owned()]));
    assert!(text("ops/deploy/haproxy.cfg").contains("bind :8405\n"));
    for file in prometheus["rule_files"].as_array().unwrap() {
        let inside = format!("/etc/prometheus/{}", file.as_str().unwrap());
        assert!(compose.services["prometheus"].on_host(&inside).unwrap().exists());
    }
    let command = &compose.services["prometheus"].command[0];
    let inside = command.strip_prefix("--config.file=").unwrap();
    assert!(compose.services["prometheus"].on_host(inside).unwrap().exists());
    // Its rules lie elsewhere here than there; they have tests of their own.
    let output = Command::new("promtool")
        .args(["check", "config", "--syntax-only", "ops/deploy/prometheus.yml"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn grafana_finds_its_dashboards_and_prometheus() {
    let compose = Compose::read();
    let grafana = &compose.services["grafana"];
    let provider = yaml("ops/deploy/grafana/provisioning/dashboards/malleposte.yml");
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    let source = yaml("ops/deploy/grafana/provisioning/datasources/prometheus.yml");
    let uid = &source["datasources"][0]["uid"];
    for name in ["throughput", "bounces", "pace", "queue", "hosts"] {
        let board = grafana.on_host(&format!("{folder}/{name}.json")).unwrap();
        let board: Value = serde_json::from_str(&std::fs::read_to_string(board).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap().iter().filter(|p| p["type"] != "row") {
            assert_eq!(panel["datasource"]["uid"], *uid, "{name}: {}", panel["title"]);
        }
    }
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let secret = &grafana.environment["GF_SECURITY_ADMIN_PASSWORD__FILE"];
    assert!(grafana.secrets.iter().any(|s| format!("/run/secrets/{s}") == *secret));
}
