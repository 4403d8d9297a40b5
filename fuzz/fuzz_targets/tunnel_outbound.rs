//! Whatever the device hands over: what leaves is one packet per datagram, no longer than the tunnel
//! carries, whose headers hold together; and joined it can be cut into the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_tunnel::bytes::{Pair, cut, join};

fuzz_target!(|frame: &[u8]| {
    let pair = Pair::new().expect("addresses");
    match pair.outbound(frame) {
        Ok(datagrams) => {
            for datagram in &datagrams {
                assert!(datagram.len() <= Pair::MTU);
                // A plain packet with nothing left to do is its own and only part.
                let plain = [&[0; 10][..], datagram].concat();
                assert_eq!(cut(&plain).as_deref(), Some(&[datagram.clone()][..]));
            }
            let joined = join(&datagrams);
            let again: Vec<_> = joined.iter().flat_map(|frame| cut(frame).expect("ours")).collect();
            assert_eq!(again, datagrams);
        }
        Err(answer) => assert_eq!(cut(&[&[0; 10][..], &answer].concat()), Some(vec![answer])),
    }
});
