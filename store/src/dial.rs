//! From the settings to a topology: credentials and certificates are read here, once.

use std::sync::Arc;
use std::time::Duration;

use redis::{ClientTlsConfig, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};

use crate::arrival::Arrivals;
use crate::config::Config;
use crate::error::StoreError;
use crate::pool::Dial;
use crate::topology::Topology;
use crate::url::Target;

/// A server in the same network answers a connection attempt in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn topology(config: &Config, arrivals: Arc<Arrivals>) -> Result<Topology, StoreError> {
    let target = Target::parse(&config.url)?;
    let tls = if target.tls { Some(certificates(config)?) } else { None };
    let dial = |settings: RedisConnectionInfo| Dial {
        settings,
        tls: tls.clone(),
        size: config.connections,
        answer_timeout: Duration::from_millis(config.answer_timeout_ms),
        connect_timeout: CONNECT_TIMEOUT,
    };
    let mut settings = nobody()?.set_db(target.db);
    // What the settings say counts more than what the address says.
    let username = Some(&config.username).filter(|name| !name.is_empty());
    if let Some(name) = username.or(target.username.as_ref()) {
        settings = settings.set_username(name);
    }
    let given = password("store.password_file", &config.password, &config.password_file)?;
    if let Some(password) = given.or(target.password) {
        settings = settings.set_password(password);
    }
    let mut at_sentinels = nobody()?;
    if !config.sentinel_username.is_empty() {
        at_sentinels = at_sentinels.set_username(&config.sentinel_username);
    }
    let (word, file) = (&config.sentinel_password, &config.sentinel_password_file);
    if let Some(password) = password("store.sentinel_password_file", word, file)? {
        at_sentinels = at_sentinels.set_password(password);
    }
    Ok(Topology::new(target.layout, dial(settings), dial(at_sentinels), arrivals))
}

fn nobody() -> Result<RedisConnectionInfo, StoreError> {
    // The crate has no other way to its defaults. Who we are is told in CLIENT SETINFO, which
    // an ACL would have to allow for no use of ours.
    let info = redis::ConnectionAddr::Tcp(String::new(), 0).into_connection_info()?;
    Ok(info.redis_settings().clone().set_skip_set_lib_name())
}

fn password(setting: &str, given: &str, file: &str) -> Result<Option<String>, StoreError> {
    if !given.is_empty() {
        return Ok(Some(given.to_owned()));
    }
    if file.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(read(setting, file)?)
        .map_err(|_| StoreError::Setting(format!("{setting} {file:?} is not text")))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn certificates(config: &Config) -> Result<TlsCertificates, StoreError> {
    let pem = |setting: &str, file: &str| {
        if file.is_empty() { Ok(None) } else { read(setting, file).map(Some) }
    };
    let root_cert = pem("store.tls_ca_file", &config.tls_ca_file)?;
    let client_cert = pem("store.tls_cert_file", &config.tls_cert_file)?;
    let client_key = pem("store.tls_key_file", &config.tls_key_file)?;
    let client_tls = client_cert
        .zip(client_key)
        .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read(setting: &str, file: &str) -> Result<Vec<u8>, StoreError> {
    std::fs::read(file).map_err(|e| StoreError::Setting(format!("{setting} {file:?}: {e}")))
}
