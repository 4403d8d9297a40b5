//! What a question for a name is answered with. Pure.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::book::Book;

/// Addresses change with every start, so nobody is to keep one.
const LIFETIME: u32 = 0;
/// What the answers of others may be as long as, where that is asked.
const PAYLOAD: u16 = 1232;

/// What there is to say.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// A container is called that.
    Known(Vec<u8>),
    /// It is no question, or none that is answered; `None` without a word.
    Refused(Option<Vec<u8>>),
    /// Others may know.
    Elsewhere,
}

/// Looks at a question of `asker`, who may know others by names of its own.
pub(super) fn answer(question: &[u8], book: &Book, asker: IpAddr) -> Answer {
    let Ok(message) = Message::from_vec(question) else {
        return Answer::Refused(None);
    };
    if message.metadata.message_type != MessageType::Query {
        // To answer an answer may never end.
        return Answer::Refused(None);
    }
    let [query] = message.queries.as_slice() else {
        return Answer::Refused(reply(&message, ResponseCode::FormErr, vec![]));
    };
    if message.metadata.op_code != OpCode::Query {
        return Answer::Refused(reply(&message, ResponseCode::NotImp, vec![]));
    }
    if query.query_class != DNSClass::IN {
        return Answer::Elsewhere;
    }
    match records(query, book, asker) {
        Some(records) => reply(&message, ResponseCode::NoError, records)
            .map_or(Answer::Refused(None), Answer::Known),
        None => Answer::Elsewhere,
    }
}

/// None of those who may know has said anything.
pub(super) fn failed(question: &[u8]) -> Option<Vec<u8>> {
    reply(&Message::from_vec(question).ok()?, ResponseCode::ServFail, vec![])
}

/// `None` for a name that is nobody's here. One that is known has no records but addresses, which is no reason
/// to ask others.
fn records(query: &Query, book: &Book, asker: IpAddr) -> Option<Vec<Record>> {
    let record = |data| Record::from_rdata(query.name.clone(), LIFETIME, data);
    if query.query_type == RecordType::PTR {
        let network = query.name.parse_arpa_name().ok()?;
        if network.prefix_len() != network.max_prefix_len() {
            return None;
        }
        let name = book.name_of(network.addr())?;
        let name = Name::from_ascii(format!("{name}.")).ok()?;
        return Some(vec![record(RData::PTR(PTR(name)))]);
    }
    let name = query.name.to_ascii().to_ascii_lowercase();
    let addresses = book.addresses_of(name.trim_end_matches('.'), asker)?;
    let data = addresses.iter().filter_map(|address| match (address, query.query_type) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(*address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(*address))),
        _other => None,
    });
    Some(data.map(record).collect())
}

fn reply(question: &Message, code: ResponseCode, records: Vec<Record>) -> Option<Vec<u8>> {
    let asked = &question.metadata;
    let mut reply = Message::response(asked.id, asked.op_code);
    reply.metadata.recursion_desired = asked.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = !records.is_empty();
    reply.metadata.response_code = code;
    reply.queries.clone_from(&question.queries);
    reply.answers = records;
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        reply.set_edns(edns);
    }
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::book;
    use super::*;

    fn ask(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn told(question: &[u8], asker: &str) -> String {
        match answer(question, &book(), asker.parse().unwrap()) {
            Answer::Elsewhere => "elsewhere".to_owned(),
            Answer::Refused(None) => "silence".to_owned(),
            Answer::Refused(Some(reply)) => {
                Message::from_vec(&reply).unwrap().metadata.response_code.to_string()
            }
            Answer::Known(reply) => {
                let reply = Message::from_vec(&reply).unwrap();
                assert_eq!((reply.metadata.id, reply.queries.len()), (7, 1));
                reply.answers.iter().map(|it| it.data.to_string()).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn answers() {
        let (web, stranger) = ("10.5.2.2", "10.5.2.9");
        for (name, kind, asker, want) in [
            ("db.", RecordType::A, web, "10.5.2.3"),
            ("DB.", RecordType::A, stranger, "10.5.2.3"),
            ("db.", RecordType::AAAA, web, "fd00::3"),
            ("db.", RecordType::MX, web, ""),
            ("mysql.", RecordType::A, web, "10.5.2.3"),
            ("mysql.", RecordType::A, stranger, "elsewhere"),
            ("cache.", RecordType::A, stranger, "10.5.2.3"),
            ("bbbbbbbbbbbb.", RecordType::A, web, "10.5.2.3"),
            ("resting.", RecordType::A, web, "elsewhere"),
            ("example.org.", RecordType::A, web, "elsewhere"),
            ("db.example.org.", RecordType::A, web, "elsewhere"),
            ("3.2.5.10.in-addr.arpa.", RecordType::PTR, web, "db."),
            ("2.5.10.in-addr.arpa.", RecordType::PTR, web, "elsewhere"),
            ("9.2.5.10.in-addr.arpa.", RecordType::PTR, web, "elsewhere"),
            (
                "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.",
                RecordType::PTR,
                web,
                "db.",
            ),
        ] {
            assert_eq!(told(&ask(name, kind), asker), want, "{name} {kind}");
        }
    }

    #[test]
    fn what_is_no_question() {
        assert_eq!(told(b"", "10.5.2.2"), "silence");
        assert_eq!(told(&[0xff; 40], "10.5.2.2"), "silence");
        let mut reply = Message::from_vec(&ask("db.", RecordType::A)).unwrap();
        reply.metadata.message_type = MessageType::Response;
        assert_eq!(told(&reply.to_vec().unwrap(), "10.5.2.2"), "silence");
        let mut two = Message::from_vec(&ask("db.", RecordType::A)).unwrap();
        two.add_query(Query::query(Name::from_ascii("web.").unwrap(), RecordType::A));
        assert_eq!(told(&two.to_vec().unwrap(), "10.5.2.2"), ResponseCode::FormErr.to_string());
        let failed = Message::from_vec(&failed(&ask("x.", RecordType::A)).unwrap()).unwrap();
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    }
}
