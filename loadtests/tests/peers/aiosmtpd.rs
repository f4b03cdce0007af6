//! aiosmtpd as receiver: a server without PIPELINING, with STARTTLS and SMTPUTF8.

use super::*;

#[tokio::test]
async fn aiosmtpd_stores_what_was_sent_step_by_step_and_encrypted() {
    if !is_here(Path::new("/usr/bin/aiosmtpd").is_file(), "aiosmtpd (ops/install.sh --tests)") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cert, key, client) = certificate(folder.path());
    let (at, box_) = (free_address(), folder.path().join("box"));
    std::fs::create_dir(&box_).unwrap();
    let mut command = Command::new("/usr/bin/aiosmtpd");
    command
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-n", "-u", "-c", "keep.Keep", "-l", &at.to_string()])
        .arg("--tlscert")
        .arg(&cert)
        .arg("--tlskey")
        .arg(&key)
        .arg("--no-requiretls")
        .arg(&box_);
    let _server = serve(&mut command, at).await;
    for policy in [TlsPolicy::Verified, TlsPolicy::Never] {
        let mut session = connect(at, policy, &client, true).await;
        assert!(!session.capabilities().pipelining && session.capabilities().smtputf8);
        assert_eq!(session.tls().is_some(), policy == TlsPolicy::Verified);
        send_all(&mut session, "jürgen@peer.example").await;
        session.quit().await;
    }
    assert_all(stored(&box_, messages().len() * 2).await, 2);
}
