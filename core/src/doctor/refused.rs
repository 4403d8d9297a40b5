//! Packets that nobody should have sent.

use super::Finding;
use crate::firewall::gate::Refusal;

/// Packets that were refused lately.
#[must_use]
pub fn refused(refusal: Refusal, packets: u64) -> Finding {
    let (what, hint) = match refusal {
        Refusal::Stranger => (
            "encapsulated packets came from addresses that are no peer's",
            "if they are a host's behind a NAT, give that one the --public-ip that it is seen by; \
             --accept-from anyone takes everybody's",
        ),
        Refusal::Inner => (
            "packets came from peers in the name of others, or for others",
            "where hosts do not masquerade, --preserve-client-ip takes sources outside of the network \
             from peers",
        ),
        Refusal::Container => (
            "packets were sent on this host from addresses that live elsewhere",
            "a container uses an address that is not its own: `nft list table ip twill-peers`",
        ),
        Refusal::Underlay => (
            "packets came from the underlay with addresses of containers",
            "somebody there pretends to be a container, or routes into the network past the tunnel",
        ),
    };
    Finding::warn("refused", format!("{packets} {what}, and were refused"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn every_reason_has_its_own_words_and_a_way_out() {
        let findings = Refusal::ALL.map(|refusal| refused(refusal, 7));
        for (number, finding) in findings.iter().enumerate() {
            let hint = finding.hint.as_deref().expect("a way out");
            assert!(finding.what.starts_with("7 ") && !hint.contains("  "), "{finding:?}");
            assert_eq!(finding.verdict, Verdict::Warn);
            assert!(!findings[..number].iter().any(|other| other.what == finding.what));
        }
    }
}
