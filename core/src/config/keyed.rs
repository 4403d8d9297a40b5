//! The options of `wireguard` in JSON.

use serde_json::Value;

use super::text::{kind, mtu, number, out_of_range, own_name};
use super::{Error, Wireguard};
use crate::json::Members;
use crate::wireguard::PresharedKey;

const MODE: &str = "Backend.Mode";
const PSK: &str = "Backend.PSK";
const KEEPALIVE: &str = "Backend.PersistentKeepaliveInterval";

pub(super) fn read(members: &Members) -> Result<Wireguard, Error> {
    let default = Wireguard::default();
    let seconds = number(members, KEEPALIVE)?.unwrap_or(0);
    Ok(Wireguard {
        port: port(members, "Backend.ListenPort")?.unwrap_or(default.port),
        port_v6: port(members, "Backend.ListenPortV6")?.unwrap_or(default.port_v6),
        mtu: mtu(members)?,
        psk: psk(members)?,
        keepalive: u16::try_from(seconds)
            .map_err(|_too_long| out_of_range(KEEPALIVE, seconds, "be at most 65535 seconds"))?,
    })
}

pub(super) fn write(options: &Wireguard, mut put: impl FnMut(&str, Value)) {
    let Wireguard { port, port_v6, mtu, psk, keepalive } = options;
    let default = Wireguard::default();
    put("ListenPort", (*port).into());
    if *port_v6 != default.port_v6 {
        put("ListenPortV6", (*port_v6).into());
    }
    if let Some(mtu) = mtu {
        put("MTU", mtu.bytes().into());
    }
    if let Some(psk) = psk {
        put("PSK", psk.to_base64().into());
    }
    if *keepalive != 0 {
        put("PersistentKeepaliveInterval", (*keepalive).into());
    }
}

/// flannel has four modes. `separate`, a device for each family, is its default and what there is here.
/// `ipv4` and `auto` come to the same in a network of IPv4; with IPv6 in it they send both families through
/// one device, to an address that each host chooses for itself.
pub(super) fn check_mode(backend: Option<&Value>, has_ipv6: bool) -> Result<(), Error> {
    let Some(Value::Object(backend)) = backend else { return Ok(()) };
    let members = Members::from(backend);
    let is_ours = members.last("Type").and_then(Value::as_str);
    if !is_ours.is_some_and(|name| name.eq_ignore_ascii_case("wireguard")) {
        return Ok(());
    }
    let mode = members.last(own_name(MODE)).filter(|mode| !mode.is_null());
    let Some(mode) = mode else { return Ok(()) };
    match mode.as_str().ok_or_else(|| kind(MODE, mode, "a string"))? {
        "" | "separate" => Ok(()),
        "ipv4" | "auto" if !has_ipv6 => Ok(()),
        other @ ("ipv4" | "ipv6" | "auto") => Err(Error::Rule {
            member: MODE,
            found: other.to_owned(),
            rule: "be separate: one tunnel for both families is not built in".to_owned(),
        }),
        other => Err(Error::Rule {
            member: MODE,
            found: other.to_owned(),
            rule: "be separate, which is the default".to_owned(),
        }),
    }
}

fn port(members: &Members, member: &'static str) -> Result<Option<u16>, Error> {
    let Some(number) = number(members, member)? else { return Ok(None) };
    // The kernel would choose one for a zero, another at every start.
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.map(Some).ok_or_else(|| out_of_range(member, number, "be from 1 to 65535"))
}

/// What is wrong with it is said without showing it.
fn psk(members: &Members) -> Result<Option<PresharedKey>, Error> {
    let Some(found) = members.last(own_name(PSK)).filter(|found| !found.is_null()) else {
        return Ok(None);
    };
    let strange = |found: &str| Error::Kind {
        member: PSK,
        found: found.to_owned(),
        wanted: "32 bytes in base64, as `wg genpsk` prints them",
    };
    let text = found.as_str().ok_or_else(|| strange("something else (not shown)"))?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_not_shown| strange("something else (not shown)"))
}
