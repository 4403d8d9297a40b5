//! Endpoints that a name server names.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use twill_store::{Discovery, Etcd, Options, Store, Tls};

use crate::certificates::{Certificates, Says};
use crate::support::{Throwaway, eventually};

const SECURE: &str = "_etcd-client-ssl._tcp.example.test.";
const PLAIN: &str = "_etcd-client._tcp.example.test.";
const DEADLINE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn members_are_found_and_asked_by_priority() {
    let (first, second) = (Throwaway::start(), Throwaway::start());
    let names = Names::serve();
    names.say(PLAIN, 60, &[(2, second.port()), (1, first.port())]);
    let store = names.store(Tls::default());
    put(&first, "first").await;
    put(&second, "second").await;
    assert_eq!(config(&store).await, "first");
    // The name, not the address, is what is asked.
    drop(first);
    assert_eq!(config(&store).await, "second");
}

#[tokio::test]
async fn members_with_tls_hide_those_without() {
    let certificates = Certificates::new();
    certificates.sign("server", Says { address: "DNS:localhost", ..Says::default() });
    let secure = Throwaway::with_options("https", certificates.server("server"));
    let plain = Throwaway::start();
    let names = Names::serve();
    names.say(PLAIN, 60, &[(1, plain.port())]);
    let tls = certificates.client("ca", None);

    let error = names.store(tls.clone()).leases().await.unwrap_err();
    let words = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(error.is_unreachable() && words.contains("without TLS only"), "{words}");

    names.say(SECURE, 60, &[(1, secure.port())]);
    names.store(tls).leases().await.unwrap();
}

#[tokio::test]
async fn dns_is_asked_again_when_all_are_silent_and_when_its_word_ends() {
    let (first, second) = (Throwaway::start(), Throwaway::start());
    put(&first, "first").await;
    put(&second, "second").await;
    let names = Names::serve();
    names.say(PLAIN, 3600, &[(1, first.port())]);
    let store = names.store(Tls::default());
    assert_eq!(config(&store).await, "first");
    first.freeze(true);
    names.say(PLAIN, 1, &[(1, second.port())]);
    let started = Instant::now();
    assert_eq!(config(&store).await, "second", "within the same call");
    assert!(started.elapsed() < DEADLINE * 2, "{:?}", started.elapsed());
    first.freeze(false);

    names.say(PLAIN, 3600, &[(1, first.port())]);
    eventually(|| async { config(&store).await == "first" }).await;
}

#[tokio::test]
async fn what_dns_said_outlives_dns() {
    let etcd = Throwaway::start();
    let names = Names::serve();
    names.say(PLAIN, 0, &[(1, etcd.port())]);
    let store = names.store(Tls::default());
    store.leases().await.unwrap();
    names.fail();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        store.leases().await.unwrap();
    }
    let error = names.store(Tls::default()).leases().await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("example.test"), "{error}");
    assert!(error.hint().contains("--etcd-discovery-srv"), "{}", error.hint());
}

/// A name server for `example.test`, all of whose hosts are this one.
struct Names {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    records: Vec<Record>,
    fails: bool,
}

impl Names {
    fn serve() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, zone) = (socket.local_addr().unwrap(), Arc::<Mutex<Zone>>::default());
        let names = Self { address, zone: Arc::clone(&zone) };
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..len]).unwrap();
                let answer = zone.lock().unwrap().answer(&question).to_vec().unwrap();
                socket.send_to(&answer, from).unwrap();
            }
        });
        names
    }

    /// These priorities and ports, instead of what was said before under this name.
    fn say(&self, service: &str, ttl: u32, members: &[(u16, u16)]) {
        let name = Name::from_ascii(service).unwrap();
        let mut zone = self.zone.lock().unwrap();
        zone.records.retain(|record| record.name != name);
        zone.records.extend(members.iter().map(|&(priority, port)| {
            let host = Name::from_ascii("localhost.").unwrap();
            Record::from_rdata(name.clone(), ttl, RData::SRV(SRV::new(priority, 1, port, host)))
        }));
    }

    fn fail(&self) {
        self.zone.lock().unwrap().fails = true;
    }

    fn store(&self, tls: Tls) -> Etcd {
        let domain = "example.test".to_owned();
        let discovery = Some(Discovery { domain, servers: vec![self.address] });
        let options = Options { discovery, tls, deadline: DEADLINE, ..Options::default() };
        Etcd::new(&options).unwrap()
    }
}

impl Zone {
    fn answer(&self, question: &Message) -> Message {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_available = true;
        answer.add_queries(question.queries.clone());
        let asked = &question.queries[0];
        let known = self.records.iter().filter(|record| record.name == *asked.name());
        let known: Vec<Record> = known.cloned().collect();
        answer.metadata.response_code = match () {
            () if self.fails => ResponseCode::ServFail,
            () if known.is_empty() || asked.query_type() != RecordType::SRV => {
                ResponseCode::NXDomain
            }
            () => ResponseCode::NoError,
        };
        if !self.fails {
            answer.add_answers(known);
        }
        answer
    }
}

async fn config(store: &Etcd) -> String {
    String::from_utf8(store.config().await.unwrap().unwrap().text).unwrap()
}

async fn put(etcd: &Throwaway, text: &str) {
    let mut client = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    client.put("/coreos.com/network/config", text, None).await.unwrap();
}
