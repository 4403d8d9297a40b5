//! What the specification's verbs do here.

use std::io::Read;
use std::net::IpAddr;

use serde_json::{Value, json};
use twill_core::subnet_env::{Blocks, SubnetEnv};
use twill_endpoint as endpoint;
use twill_endpoint::{Keeper, Owner, Request, StaticRoute};
use twill_net::netns::Netns;

use crate::agent::{self, Answer};
use crate::config::Config;
use crate::document::Document;
use crate::environment::{Args, Environment, Verb};
use crate::error::{Code, Failure};
use crate::outcome::outcome;
use crate::version::Version;
use crate::wish::{Masquerade, Wish, route};

/// No configuration of the field is near this size; a stdin that never ends is none.
const LARGEST_CONFIGURATION: u64 = 1 << 20;

/// Does what the runtime asks for; the answer, if the verb has one, goes to stdout.
pub(crate) fn run(environment: &Environment, stdin: impl Read) -> Result<Option<Value>, Failure> {
    let verb = environment.verb()?;
    if verb == Verb::Version {
        // Runtimes fill the other variables with anything, and may leave stdin open.
        return Ok(Some(versions()));
    }
    let config = Config::parse(&read(stdin)?)?;
    let answer = since(verb, config.version).and_then(|()| match verb {
        Verb::Add => add(environment, &config).map(Some),
        Verb::Del => del(environment, &config).map(|()| None),
        Verb::Status => status(&config).map(|()| None),
        Verb::Gc => gc(&config).map(|()| None),
        Verb::Version => Ok(Some(versions())),
        Verb::Check => check(environment, &config).map(|()| None),
    });
    answer.map_err(|failure| failure.asked_in(config.version))
}

/// Refuses a verb that the release does not have.
fn since(verb: Verb, version: Version) -> Result<(), Failure> {
    let (message, first) = match verb {
        Verb::Status | Verb::Gc if version < Version::V1_1_0 => {
            (format!("CNI {version} knows neither STATUS nor GC"), Version::V1_1_0)
        }
        Verb::Check if version < Version::V0_4_0 => {
            (format!("CNI {version} does not know CHECK"), Version::V0_4_0)
        }
        _known => return Ok(()),
    };
    let hint = format!("set `cniVersion` to {first} or later, or list that in `cniVersions`");
    Err(Failure::new(Code::IncompatibleVersion, message).hint(hint))
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Failure> {
    let failed = |words| {
        let hint = "the runtime writes it and closes its end: look into the runtime's log";
        Failure::new(Code::InputOutput, words).hint(hint)
    };
    let mut bytes = Vec::new();
    let length = stdin.take(LARGEST_CONFIGURATION + 1).read_to_end(&mut bytes);
    let length = length
        .map_err(|error| failed(format!("cannot read the network configuration: {error}")))?;
    if u64::try_from(length).is_ok_and(|length| length > LARGEST_CONFIGURATION) {
        return Err(failed("the network configuration on stdin is over 1 MiB".to_owned()));
    }
    Ok(bytes)
}

fn versions() -> Value {
    json!({
        "cniVersion": Version::NEWEST.as_str(),
        "supportedVersions": Version::ALL.map(Version::as_str),
    })
}

fn add(environment: &Environment, config: &Config) -> Result<Value, Failure> {
    let owner = owner(environment, config)?;
    let (netns, args) = (environment.netns()?, environment.args()?);
    let netns = Netns::open(netns).map_err(endpoint::Error::from)?;
    let wish = config.wish(&args)?;
    let previous = config.previous()?;
    let env = config.host.read_env()?;
    check_masquerade(&wish, &env)?;
    let request = request((owner, &netns), &wish, &env);
    // Nobody else gets them before the rules are there.
    let _held = config.host.hold_ports(&request.owner, &request.ports)?;
    let attachment = config.host.attach(&request)?;
    Ok(outcome((config.version, &wish.dns), previous, &attachment))
}

fn check_masquerade(wish: &Wish, env: &SubnetEnv) -> Result<(), Failure> {
    if wish.masquerade != Masquerade::Wanted || env.ip_masq {
        return Ok(());
    }
    let message = "`ipMasq` is true, but the agent of this host does not masquerade";
    Err(Failure::new(Code::UnsupportedField, message)
        .hint("start the agent with `--ip-masq`, or leave `ipMasq` out"))
}

fn request<'a>((owner, netns): (Owner, &'a Netns), wish: &Wish, env: &SubnetEnv) -> Request<'a> {
    let mut request = Request::new(owner, netns);
    if let Some(bridge) = &wish.bridge {
        request.bridge = bridge.clone();
    }
    request.addresses.clone_from(&wish.addresses);
    request.mac = wish.mac;
    request.mtu = wish.mtu;
    request.hairpin = wish.hairpin;
    request.default_route = wish.default_route;
    request.spoof_check = wish.spoof_check;
    request.routes.clone_from(&wish.routes);
    request.ports.clone_from(&wish.ports);
    request.limits = wish.limits;
    request.aliases.clone_from(&wish.aliases);
    // Also beside a default route: another network of the pod may take that over.
    for Blocks { network: destination, .. } in env.blocks() {
        if request.routes.iter().all(|route| route.destination != destination) {
            request.routes.push(StaticRoute { destination, gateway: None });
        }
    }
    request
}

fn del(environment: &Environment, config: &Config) -> Result<(), Failure> {
    Ok(config.host.detach(&owner(environment, config)?)?)
}

/// Whether the next ADD would go through, and its container reach anybody.
fn status(config: &Config) -> Result<(), Failure> {
    let wish = config.wish(&Args::default())?;
    if let Err(error) = config.host.ready(wish.bridge.as_ref(), wish.mtu) {
        return Err(Failure { code: Code::NotAvailable, ..Failure::from(error) });
    }
    check_masquerade(&wish, &config.host.read_env()?)?;
    match agent::ask(&config.agent, &config.host.subnet_env) {
        Answer::Ready | Answer::Nobody => Ok(()),
        Answer::NotReady(reasons) => {
            let message = format!("the agent of this host is not ready: {reasons}");
            Err(Failure::new(Code::Degraded, message).hint("see `twillctl status`"))
        }
    }
}

fn gc(config: &Config) -> Result<(), Failure> {
    let Some(attachments) = config.attachments()? else {
        let message = "`cni.dev/valid-attachments` of the network configuration is missing";
        return Err(Failure::new(Code::InvalidConfiguration, message)
            .hint("the runtime lists there what it knows, and an empty list is one"));
    };
    let alive = |owner: &Owner| {
        attachments.contains(&(owner.container.clone(), owner.interface.to_string()))
    };
    config.host.reclaim(&keeper(config), alive).map(drop).map_err(Failure::from)
}

/// Whether the container is as ADD left it, on the host as it is now.
fn check(environment: &Environment, config: &Config) -> Result<(), Failure> {
    let owner = owner(environment, config)?;
    let netns = Netns::open(environment.netns()?).map_err(endpoint::Error::from)?;
    let previous = config.previous()?;
    let record = config.host.check(&owner, &netns)?;
    let Some(previous) = &previous else { return Ok(()) };
    let previous = Document::of(Some(previous));
    if previous.member("ips").is_none() {
        return Ok(());
    }
    let rows = previous.objects("ips")?;
    let named = |address: IpAddr| {
        let of = |row: &Document<'_>| {
            let text = row.text("address").ok().flatten()?;
            text.split('/').next()?.parse().ok()
        };
        rows.iter().any(|row| of(row) == Some(address))
    };
    let mut addresses = record.places().map(|place| place.address);
    if let Some(address) = addresses.find(|address| !named(*address)) {
        let message = format!("{owner} has {address}, which `prevResult` does not name");
        return Err(
            Failure::new(Code::NotAsAdded, message).hint("delete the pod, and make it again")
        );
    }
    let routes = previous.objects("routes")?;
    let routes: Vec<StaticRoute> = routes.iter().filter_map(|row| route(row).ok()).collect();
    Ok(config.host.check_routes(&record, &netns, &routes)?)
}

fn owner(environment: &Environment, config: &Config) -> Result<Owner, Failure> {
    Ok(Owner {
        keeper: keeper(config),
        container: environment.container()?.to_owned(),
        interface: environment.interface()?,
    })
}

fn keeper(config: &Config) -> Keeper {
    Keeper::Cni(config.name.clone())
}
