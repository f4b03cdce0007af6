//! TLS and an ACL user: exactly the line of docs/OPERATIONS.md, the password from a file,
//! certificates made here.

use std::path::Path;
use std::time::Duration;

use mail::queue::{BatchId, CampaignState, Enqueue, Enqueued};
use mail::{CampaignId, Event, ShardId, Timestamp};
use store::{Config, Durability, FileRecord, Frame, Position, Store, StoreError};

use crate::topologies::server::{Server, free_port};

/// The rule of the document, its placeholders filled.
fn acl_line() -> String {
    let text = include_str!("../../docs/OPERATIONS.md");
    let line = text.lines().find(|l| l.starts_with("user malleposte ")).expect("the ACL line");
    line.replace("PASSWORD", "secret")
}

struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_cert = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
        write("ca.pem", &authority_cert.pem());
        for (name, host) in [("server", "127.0.0.1"), ("client", "malleposte")] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
            // Another name than the authority's, or OpenSSL takes it for its own issuer.
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let cert = params.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.pem"), &cert.pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn server(certificates: &Certificates, acl: &Path) -> Server {
    let port = free_port();
    let port_text = port.to_string();
    let folder = certificates.folder.path();
    let file = |name: &str| folder.join(name).display().to_string();
    Server::start_program(
        "redis-server",
        port,
        &[
            "--port",
            "0",
            "--tls-port",
            &port_text,
            "--tls-cert-file",
            &file("server.pem"),
            "--tls-key-file",
            &file("server.key"),
            "--tls-ca-cert-file",
            &file("ca.pem"),
            "--tls-auth-clients",
            "yes",
            "--aclfile",
            acl.to_str().unwrap(),
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ],
    )
}

async fn use_all(store: &Store) {
    let shard = ShardId(0);
    let batch = store.reserve(shard, 3).await.unwrap();
    let enqueue = Enqueue {
        lane: "c1/a.example".parse().unwrap(),
        chunk: 0,
        batch: BatchId(batch.0),
        count: 3,
        suppressed: vec![],
        priority: 1,
    };
    let frame = Frame::encode(&[Event::default()]);
    let stored = store.enqueue(shard, &[(enqueue, b"blob".to_vec(), frame)]).await.unwrap();
    assert_eq!(stored, [Enqueued::Stored]);
    store.set_campaign_state(CampaignId(1), CampaignState::Running, 1).await.unwrap();
    assert!(store.renew("r1", |_| true).await.iter().all(Result::is_ok));
    let lane = "c1/a.example".parse().unwrap();
    store.lease(shard, "r1", &[(lane, 2)]).await.unwrap();
    store.reconcile(shard, "r1", &[]).await.unwrap();
    store.expedite(CampaignId(1)).await.unwrap();
    store.audit(shard).await.unwrap();
    let page = store::Page { shard, from: 0, count: 10 };
    assert!(store.ready_pages(&[page]).await.iter().all(Result::is_ok));
    let leased = store.lease_together("r1", &[(shard, Vec::new())]).await;
    assert!(leased.iter().all(Result::is_ok));
    let frames = store.durable_frames(shard, Position::default(), 10).await.unwrap().frames;
    assert_eq!(frames.len(), 1);
    store.trim_outbox(shard, frames[0].position).await.unwrap();
    store.durable_frames(shard, frames[0].position, 10).await.unwrap();
    store.outbox_len(shard).await.unwrap();
    let far: Position = format!("{}-0", frames[0].position.millis() + 60_000).parse().unwrap();
    store.durable_frames(shard, far, 10).await.unwrap();
    let site = mail::Site::from_name("mx.example");
    let pace = store::NewPace {
        state: b"state",
        rate: 10.0,
        connections: 2,
        is_taught: true,
        is_held: false,
    };
    store.put_pace("s", &site, 0, pace).await.unwrap();
    let request = store::SliceRequest {
        relay: "r1",
        flows: &[],
        in_use: 1,
        slice: Duration::from_millis(100),
        expiry: Duration::from_secs(5),
        start: (10.0, 2),
        fixed: (None, None),
    };
    store.pace_slice("s", &site, request).await.unwrap();
    store.paces().await.unwrap();
    store.pace("s", &site).await.unwrap();
    let feedback = store::Feedback {
        domain: "a".into(),
        category: None,
        scope: mail::Scope::Recipient,
        signal: None,
        campaign: None,
        said: String::new(),
    };
    store.put_feedback(&feedback).await.unwrap();
    assert_eq!(store.take_feedback(10).await.unwrap(), [feedback]);
    let memory = store.gate_memory(CampaignId(1)).await.unwrap();
    store
        .put_gate_memory(CampaignId(1), &memory, &memory.memory, mail::Timestamp(1))
        .await
        .unwrap();
    let key = mail::holds::Key {
        kind: mail::holds::Kind::Tenant,
        name: "t".into(),
        site: site.as_str().into(),
    };
    let hold = mail::holds::Hold::new(key.clone(), "t", mail::Timestamp(1));
    let before = store.hold_record(&key).await.unwrap();
    assert_eq!(store.put_hold(&key, &before, Some(&hold)).await.unwrap(), store::HoldPut::Done);
    assert!(store.holds(mail::Timestamp(1)).await.unwrap().is_empty(), "heard of, not held");
    store.begin_request("t", "k", "print").await.unwrap();
    store.finish_request("t", "k", "print", "answer").await.unwrap();
    store.finish_request("t", "k", "print", "").await.unwrap();
    store.suppressed(shard, "t", &["a@b".into()], Timestamp(1)).await.unwrap();
    store.suppressions(shard, None, 0).await.unwrap();
    store.campaigns(None, 10).await.unwrap();
    store.active_campaigns().await.unwrap();
    store.reserve_campaign().await.unwrap();
    store.retire_campaign(CampaignId(1)).await.unwrap();
    store.note_campaign(CampaignId(1), "n", "v").await.unwrap();
    store.claim_note(CampaignId(1), "n", "v").await.unwrap();
    let file = FileRecord {
        name: "a".into(),
        media_type: "image/png".into(),
        content_id: None,
        octets: 1,
        sha256: String::new(),
        key: "k".into(),
    };
    store.put_file_piece(CampaignId(1), "k", 0, b"x").await.unwrap();
    let files = std::slice::from_ref(&file);
    assert!(store.keep_files(CampaignId(1), files).await.unwrap().is_empty());
    assert_eq!(store.file_pieces(CampaignId(1), &file, 0).await.unwrap(), [b"x"]);
    store.delete_files(CampaignId(1), files).await.unwrap();
    store.remove_relay("r1").await.unwrap();
    store.senders().await.unwrap();
    assert_eq!(store.api_key_count().await.unwrap(), 0);
    store.used_memory().await.unwrap();
    store.ping().await.unwrap();
    let hold = store.hold_outbox("backup", std::time::Duration::from_secs(9)).await.unwrap();
    store.copy_shard(shard, &hold, |_| Ok::<_, StoreError>(())).await.unwrap();
    store.release_outbox(hold).await.unwrap();
    store.copy_rest(|_| Ok::<_, StoreError>(())).await.unwrap();
}

#[tokio::test]
async fn the_documented_acl_user_over_tls_can_do_all_that_the_store_does_and_no_more() {
    let certificates = Certificates::make();
    let acl = certificates.folder.path().join("users.acl");
    std::fs::write(&acl, format!("user default off\n{}\n", acl_line())).unwrap();
    std::fs::write(certificates.folder.path().join("password"), "secret\n").unwrap();
    let server = server(&certificates, &acl);
    let config = Config {
        url: format!("rediss://127.0.0.1:{}", server.port),
        username: "malleposte".into(),
        password_file: certificates.file("password"),
        tls_ca_file: certificates.file("ca.pem"),
        tls_cert_file: certificates.file("client.pem"),
        tls_key_file: certificates.file("client.key"),
        shards: 4,
        ..Config::default()
    };
    let store = Store::open(&config).await.unwrap();
    assert_eq!(store.durability(), Durability::Always, "it may look at appendfsync");
    use_all(&store).await;

    let refused = async |change: &dyn Fn(&mut Config)| {
        let mut other = config.clone();
        change(&mut other);
        Store::open(&other).await.err().expect("it must not open").to_string()
    };
    let elsewhere = refused(&|c| c.prefix = "other".into()).await;
    assert!(elsewhere.to_lowercase().contains("noperm"), "{elsewhere}");
    refused(&|c| c.password_file = certificates.file("ca.pem")).await;
    refused(&|c| c.tls_ca_file = String::new()).await;
    refused(&|c| c.url = format!("redis://127.0.0.1:{}", server.port)).await;
    refused(&|c| {
        c.tls_cert_file = String::new();
        c.tls_key_file = String::new();
    })
    .await;
    let missing = refused(&|c| c.tls_ca_file = "/nowhere.pem".into()).await;
    assert!(missing.contains("tls_ca_file") && missing.contains("/nowhere.pem"), "{missing}");
}
