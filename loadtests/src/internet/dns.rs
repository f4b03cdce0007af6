//! The pretend DNS: a hickory server whose answers are computed from the map of the
//! pretend internet and the records that callers have added.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hickory_proto::op::{Header, HeaderCounts, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::world::{Dwelling, World};
use super::zone::{Fault, Zone, name_of};

/// The answer to a question.
enum Answer {
    Records(Vec<RData>),
    NoSuchName,
    Failed,
    Silence,
}

/// Domains remembered as asked for, for trouble that passes. The tail has 50,000.
const ASKED_MAX: usize = 100_000;

struct Handler {
    world: Arc<World>,
    zone: Arc<Zone>,
    asked: Mutex<HashMap<String, Instant>>,
}

/// Starts the server on `listen` (port 0: a free one, the same for UDP and TCP).
pub(super) async fn start(
    listen: SocketAddr,
    world: Arc<World>,
    zone: Arc<Zone>,
) -> Result<(SocketAddr, Dns)> {
    let (udp, tcp) = bind(listen).await?;
    let address = udp.local_addr()?;
    let mut server = Server::new(Handler { world, zone, asked: Mutex::default() });
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(10), 64);
    Ok((address, Dns(server)))
}

/// The running server.
pub(super) struct Dns(Server<Handler>);

impl Dns {
    /// Ends it; a client that keeps its TCP connection open does not keep us.
    pub(super) async fn stop(mut self) {
        let end = tokio::time::timeout(Duration::from_secs(2), self.0.shutdown_gracefully()).await;
        if !matches!(end, Ok(Ok(()))) {
            tracing::warn!("the pretend DNS did not end cleanly");
        }
    }
}

async fn bind(listen: SocketAddr) -> Result<(UdpSocket, TcpListener)> {
    const TRIES: usize = 20;
    let mut last = None;
    for _ in 0..TRIES {
        let udp = UdpSocket::bind(listen).await;
        let udp = udp.with_context(|| format!("cannot bind {listen} for DNS"))?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
        if listen.port() != 0 {
            break;
        }
    }
    Err(last.context("no try was made")?).with_context(|| format!("cannot bind {listen} over TCP"))
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut reply: R,
    ) -> ResponseInfo {
        let Ok(info) = request.request_info() else {
            return nothing(request);
        };
        let name = info.query.name().to_string().trim_end_matches('.').to_ascii_lowercase();
        let kind = info.query.query_type();
        let fault = self.zone.fault(&name);
        if fault == Some(Fault::Slow) {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let truncated = fault == Some(Fault::Truncated) && request.protocol() == Protocol::Udp;
        let (code, data) = match self.answer(&name, kind, fault) {
            Answer::Silence => return nothing(request),
            Answer::Records(_) if truncated => (ResponseCode::NoError, Vec::new()),
            Answer::Records(data) => (ResponseCode::NoError, data),
            Answer::NoSuchName => (ResponseCode::NXDomain, Vec::new()),
            Answer::Failed => (ResponseCode::ServFail, Vec::new()),
        };
        let mut metadata = Metadata::response_from_request(info.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        metadata.truncation = truncated;
        metadata.response_code = code;
        let ttl = self.world.scenario.dns.ttl_s;
        let owner = info.query.original().name().clone();
        let answers: Vec<Record> =
            data.into_iter().map(|item| Record::from_rdata(owner.clone(), ttl, item)).collect();
        let empty = answers.is_empty() && code != ResponseCode::ServFail && !truncated;
        let soa = empty.then(|| soa(ttl));
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            answers.iter(),
            [],
            soa.iter(),
            [],
        );
        reply.send_response(response).await.unwrap_or_else(|_| nothing(request))
    }
}

impl Handler {
    fn answer(&self, name: &str, kind: RecordType, fault: Option<Fault>) -> Answer {
        match fault {
            Some(Fault::Nxdomain) => return Answer::NoSuchName,
            Some(Fault::ServFail) => return Answer::Failed,
            Some(Fault::Silent) => return Answer::Silence,
            Some(Fault::Slow | Fault::Truncated) | None => {}
        }
        if let Some(records) = self.zone.records(name, kind) {
            return Answer::Records(records);
        }
        if let Some(address) = self.world.exchanger(name) {
            let data = (kind == RecordType::A).then_some(RData::A(A(address)));
            return Answer::Records(data.into_iter().collect());
        }
        if let Some(answer) = self.own_exchanger(name, kind) {
            return answer;
        }
        match self.world.dwelling(name) {
            Some(dwelling) => self.domain(name, kind, dwelling),
            None => Answer::NoSuchName,
        }
    }

    /// A domain with an exchanger of its own, and that exchanger.
    fn own_exchanger(&self, name: &str, kind: RecordType) -> Option<Answer> {
        if !self.world.scenario.dns.own_mx {
            return None;
        }
        if let Some(Dwelling::Mx(_)) = self.world.dwelling(name) {
            let host = name_of(&format!("mx.{name}")).filter(|_| kind == RecordType::MX);
            let data = host.map(|host| RData::MX(MX::new(10, host)));
            return Some(Answer::Records(data.into_iter().collect()));
        }
        let Dwelling::Mx(host) = self.world.dwelling(name.strip_prefix("mx.")?)? else {
            return None;
        };
        let first = self.world.hosts[host].mx.first().filter(|_| kind == RecordType::A);
        Some(Answer::Records(first.map(|x| RData::A(A(x.address))).into_iter().collect()))
    }

    fn domain(&self, name: &str, kind: RecordType, dwelling: Dwelling) -> Answer {
        match dwelling {
            Dwelling::Nowhere => Answer::NoSuchName,
            Dwelling::ServFail(_) if self.in_trouble(name) => Answer::Failed,
            Dwelling::Silent(_) if self.in_trouble(name) => Answer::Silence,
            Dwelling::NullMx => {
                let null = (kind == RecordType::MX).then(|| RData::MX(MX::new(0, Name::root())));
                Answer::Records(null.into_iter().collect())
            }
            Dwelling::Implicit(host) => {
                let first = self.world.hosts[host].mx.first();
                let data = first.filter(|_| kind == RecordType::A).map(|x| RData::A(A(x.address)));
                Answer::Records(data.into_iter().collect())
            }
            Dwelling::Mx(host) | Dwelling::ServFail(host) | Dwelling::Silent(host) => {
                let mx = self.world.hosts[host].mx.iter().filter(|_| kind == RecordType::MX);
                let data =
                    mx.filter_map(|x| Some(RData::MX(MX::new(x.preference, name_of(&x.host)?))));
                Answer::Records(data.collect())
            }
        }
    }

    /// Whether a domain's trouble, which begins with the first question, goes on.
    fn in_trouble(&self, name: &str) -> bool {
        let trouble = Duration::from_millis(self.world.scenario.dns.trouble_ms);
        if trouble.is_zero() {
            return true;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= ASKED_MAX && !asked.contains_key(name) {
            return false;
        }
        asked.entry(name.to_owned()).or_insert_with(Instant::now).elapsed() < trouble
    }
}

fn soa(ttl: u32) -> Record {
    let name = |text| name_of(text).unwrap_or_else(Name::root);
    let soa = SOA::new(name("ns.pretend.test"), name("dns.pretend.test"), 1, 60, 60, 600, ttl);
    Record::from_rdata(Name::root(), ttl, RData::SOA(soa))
}

/// Nothing was sent.
fn nothing(request: &Request) -> ResponseInfo {
    let mut metadata =
        Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    metadata.response_code = ResponseCode::ServFail;
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
