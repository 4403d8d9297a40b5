//! What the specification's verbs do here.

use std::io::Read;
use std::net::IpAddr;

use serde_json::{Value, json};
use twill_endpoint as endpoint;
use twill_endpoint::{Keeper, Owner, Request, StaticRoute};
use twill_net::netns::Netns;

use crate::config::Config;
use crate::environment::{Args, Environment, Verb};
use crate::error::{Code, Failure};
use crate::outcome::outcome;
use crate::version::Version;

/// No configuration of the field is near this size; a stdin that never ends is none.
const LARGEST_CONFIGURATION: u64 = 1 << 20;

/// Does what the runtime asks for; the answer, if the verb has one, goes to stdout.
pub(crate) fn run(environment: &Environment, stdin: impl Read) -> Result<Option<Value>, Failure> {
    let verb = environment.verb()?;
    if verb == Verb::Version {
        // Runtimes fill the other variables with anything, and may leave stdin open.
        return Ok(Some(versions()));
    }
    // Arguments are wishes for a new interface; they must not keep an old one from being removed.
    let args = if verb == Verb::Add { environment.args()? } else { Args::default() };
    let config = Config::parse(&read(stdin)?, &args)?;
    if matches!(verb, Verb::Status | Verb::Gc) && config.version < Version::V1_1_0 {
        let message = format!("CNI {} knows neither STATUS nor GC", config.version);
        return Err(Failure::new(Code::IncompatibleVersion, message).asked_in(config.version));
    }
    if verb == Verb::Check && config.version < Version::V0_4_0 {
        let message = format!("CNI {} does not know CHECK", config.version);
        return Err(Failure::new(Code::IncompatibleVersion, message).asked_in(config.version));
    }
    let answer = match verb {
        Verb::Add => add(environment, &config).map(Some),
        Verb::Del => del(environment, &config).map(|()| None),
        Verb::Status => status(&config).map(|()| None),
        Verb::Gc => gc(&config).map(|()| None),
        Verb::Version => Ok(Some(versions())),
        Verb::Check => check(environment, &config).map(|()| None),
    };
    answer.map_err(|failure| failure.asked_in(config.version))
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Failure> {
    let failed = |words| Failure::new(Code::InputOutput, words);
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
    let netns = Netns::open(environment.netns()?).map_err(endpoint::Error::from)?;
    let env = config.host.read_env()?;
    let mut request = Request::new(owner, &netns);
    let wish = &config.wish;
    if let Some(bridge) = &wish.bridge {
        request.bridge = bridge.clone();
    }
    request.addresses.clone_from(&wish.addresses);
    request.mac = wish.mac;
    request.mtu = wish.mtu;
    request.hairpin = wish.hairpin;
    request.default_route = wish.default_route;
    request.spoof_check = wish.spoof_check;
    // Also beside a default route: another network of the pod may take that over.
    let networks = env.blocks().map(|blocks| blocks.network);
    request.routes =
        networks.map(|destination| StaticRoute { destination, gateway: None }).collect();
    Ok(outcome(config, &config.host.attach(&request)?))
}

fn del(environment: &Environment, config: &Config) -> Result<(), Failure> {
    Ok(config.host.detach(&owner(environment, config)?)?)
}

fn status(config: &Config) -> Result<(), Failure> {
    config.host.read_env().map(drop).map_err(|error| {
        let failure = Failure::from(error);
        Failure { code: Code::NotAvailable, ..failure }
    })
}

fn gc(config: &Config) -> Result<(), Failure> {
    let Some(attachments) = &config.attachments else {
        let message = "`cni.dev/valid-attachments` of the network configuration is missing";
        return Err(Failure::new(Code::InvalidConfiguration, message));
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
    let record = config.host.check(&owner, &netns)?;
    let told = config.previous.as_ref().and_then(|previous| previous.get("ips"));
    let Some(rows) = told.and_then(Value::as_array) else { return Ok(()) };
    let named = |address: IpAddr| {
        let of = |row: &Value| row["address"].as_str()?.split('/').next()?.parse().ok();
        rows.iter().any(|row| of(row) == Some(address))
    };
    let mut addresses = record.places().map(|place| place.address);
    match addresses.find(|address| !named(*address)) {
        Some(address) => {
            let message = format!("{owner} has {address}, which `prevResult` does not name");
            Err(Failure::new(Code::NotAsAdded, message).hint("delete the pod, and make it again"))
        }
        None => Ok(()),
    }
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
