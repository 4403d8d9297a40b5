//! How fast an interface sends: a token bucket (`tbf`) as its queueing discipline. It belongs to the
//! interface and goes with it, so that nobody has to take it away.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use twill_core::device::IfIndex;

use super::Kernel;
use super::error::{Error, Operation};

/// What an interface may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// In the long run, bytes in each second; not 0.
    pub bytes_per_second: u64,
    /// At once, after a rest: bytes. Packets that are longer are never sent.
    pub burst: u32,
}

impl Kernel {
    /// From now on `link` sends no more than `rate`: what does not fit waits a moment, and is dropped after that.
    pub fn limit_rate(&mut self, link: IfIndex, rate: Rate) -> Result<(), Error> {
        let request = Message::NewQueueDiscipline(bucket(link, rate));
        self.one(Operation::LimitRate(link), request, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Has `link` a token bucket for what it sends?
    pub fn has_limit(&mut self, link: IfIndex) -> Result<bool, Error> {
        let request = Message::GetQueueDiscipline(TcMessage::default());
        let rows = self.dump(Operation::ListLimits, &request)?;
        Ok(rows.iter().any(|row| match row {
            Message::NewQueueDiscipline(row) => {
                let kind = |part: &TcAttribute| matches!(part, TcAttribute::Kind(it) if it == KIND);
                row.header.index == link.0.cast_signed()
                    && row.header.parent == TcHandle::ROOT
                    && row.attributes.iter().any(kind)
            }
            _other => false,
        }))
    }
}

const KIND: &str = "tbf";
/// How long a packet may wait, in the reference plugin's figure.
const LATENCY_MILLISECONDS: u64 = 25;

fn bucket(link: IfIndex, rate: Rate) -> TcMessage {
    /// `linux/pkt_sched.h`.
    const TCA_TBF_PARMS: u16 = 1;
    const TCA_TBF_RATE64: u16 = 4;
    const TCA_TBF_BURST: u16 = 6;
    let mut message = TcMessage::with_index(link.0.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message.header.handle = TcHandle { major: 1, minor: 0 };
    let option = |kind, value| TcOption::Other(DefaultNla::new(kind, value));
    message.attributes = vec![
        TcAttribute::Kind(KIND.to_owned()),
        TcAttribute::Options(vec![
            option(TCA_TBF_PARMS, parameters(rate)),
            option(TCA_TBF_RATE64, rate.bytes_per_second.to_ne_bytes().to_vec()),
            option(TCA_TBF_BURST, rate.burst.to_ne_bytes().to_vec()),
        ]),
    ];
    message
}

/// `struct tc_tbf_qopt`: two rates of which the second, of peaks, is none; how much may wait, in bytes; and
/// the bucket's size in ticks, which `TCA_TBF_BURST` says better.
fn parameters(rate: Rate) -> Vec<u8> {
    /// With it the kernel reckons for itself, and wants no table.
    const TC_LINKLAYER_ETHERNET: u8 = 1;
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let waiting = rate.bytes_per_second.saturating_mul(LATENCY_MILLISECONDS) / 1000;
    let limit = narrow(waiting.saturating_add(rate.burst.into()));
    // `struct tc_ratespec`: cell log, link layer, overhead, cell align, smallest packet, rate.
    let mut bytes = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(narrow(rate.bytes_per_second).to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(limit.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}
