//! A seccomp profile of the user's, in Docker's form: rules that hold with some capabilities or on some
//! architectures only. What does not hold here is left out; what remains is the OCI's form.

use oci_spec::runtime::LinuxSeccomp;
use serde::Deserialize;
use serde_json::{Value, json};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Invalid {
    #[error("decoding seccomp profile failed")]
    Decode(#[from] serde_json::Error),
    #[error("use either 'architectures' or 'archMap'")]
    Architectures,
    #[error("a rule has both 'name' and 'names'")]
    Names,
}

#[cfg(target_arch = "x86_64")]
const HERE: (&str, &str) = ("SCMP_ARCH_X86_64", "amd64");
#[cfg(target_arch = "aarch64")]
const HERE: (&str, &str) = ("SCMP_ARCH_AARCH64", "arm64");
#[cfg(target_arch = "riscv64")]
const HERE: (&str, &str) = ("SCMP_ARCH_RISCV64", "riscv64");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Family>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// What of a profile holds for a container with these capabilities on this machine.
pub fn resolve(profile: &Value, capabilities: &[String]) -> Result<Value, Invalid> {
    let profile = Profile::deserialize(profile)?;
    let mut resolved = json!({"defaultAction": profile.default_action});
    if let Some(errno) = profile.default_errno_ret {
        resolved["defaultErrnoRet"] = errno.into();
    }
    if let Some(flags) = profile.flags.filter(|flags| !flags.is_empty()) {
        resolved["flags"] = flags.into();
    }
    let listed = profile.architectures.unwrap_or_default();
    let families = profile.arch_map.unwrap_or_default();
    if !listed.is_empty() && !families.is_empty() {
        return Err(Invalid::Architectures);
    }
    let of_family = families.into_iter().find(|family| family.architecture == HERE.0);
    let architectures = of_family.map_or(listed, |family| {
        [vec![family.architecture], family.sub_architectures.unwrap_or_default()].concat()
    });
    if !architectures.is_empty() {
        resolved["architectures"] = architectures.into();
    }
    let mut rules = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        rules.extend(self::rule(rule, capabilities)?);
    }
    resolved["syscalls"] = rules.into();
    // Whoever gets it must understand it.
    LinuxSeccomp::deserialize(&resolved)?;
    Ok(resolved)
}

fn rule(rule: Rule, capabilities: &[String]) -> Result<Option<Value>, Invalid> {
    let names = match (rule.name.as_str(), rule.names.unwrap_or_default()) {
        ("", names) => names,
        (name, names) if names.is_empty() => vec![name.to_owned()],
        _ => return Err(Invalid::Names),
    };
    let included = rule.includes.is_none_or(|includes| includes.holds(capabilities));
    let excluded = rule.excludes.is_some_and(|excludes| excludes.touches(capabilities));
    if !included || excluded || names.is_empty() {
        return Ok(None);
    }
    let mut resolved = json!({"names": names, "action": rule.action});
    if let Some(errno) = rule.errno_ret {
        resolved["errnoRet"] = errno.into();
    }
    if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
        resolved["args"] = args.into();
    }
    Ok(Some(resolved))
}

impl Condition {
    /// All that is named is so.
    fn holds(&self, capabilities: &[String]) -> bool {
        self.caps.iter().flatten().all(|name| capabilities.contains(name))
            && self.arches.as_ref().is_none_or(|all| all.is_empty() || is_here(all))
            && self.min_kernel.as_deref().is_none_or(is_new_enough)
    }

    /// Something that is named is so.
    fn touches(&self, capabilities: &[String]) -> bool {
        self.caps.iter().flatten().any(|name| capabilities.contains(name))
            || self.arches.as_ref().is_some_and(|all| is_here(all))
            || self.min_kernel.as_deref().is_some_and(is_new_enough)
    }
}

fn is_here(architectures: &[String]) -> bool {
    architectures.iter().any(|name| name == HERE.1)
}

fn is_new_enough(wanted: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    version(&release) >= version(wanted)
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profile: &Value, capabilities: &[&str]) -> Vec<String> {
        let capabilities: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
        let resolved = resolve(profile, &capabilities).unwrap();
        let rules = resolved["syscalls"].as_array().unwrap();
        let all = rules.iter().flat_map(|rule| rule["names"].as_array().unwrap());
        all.map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn rules_hold_where_they_say_so() {
        let allow = "SCMP_ACT_ALLOW";
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [
                {"architecture": "SCMP_ARCH_PPC", "subArchitectures": null},
                {"architecture": HERE.0, "subArchitectures": ["SCMP_ARCH_X86"]},
            ],
            "syscalls": [
                {"name": "read", "action": allow, "args": null, "includes": {}, "excludes": {}},
                {"names": ["mount", "umount"], "action": allow, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["clone"], "action": allow, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["here"], "action": allow, "includes": {"arches": [HERE.1]}},
                {"names": ["there"], "action": allow, "includes": {"arches": ["s390x"]}},
                {"names": ["new"], "action": allow, "includes": {"minKernel": "99.0"}},
                {"names": ["old"], "action": allow, "includes": {"minKernel": "4.8"}},
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ],
        });
        assert_eq!(names(&profile, &[]), ["read", "clone", "here", "old", "kill"]);
        assert_eq!(
            names(&profile, &["CAP_SYS_ADMIN"]),
            ["read", "mount", "umount", "here", "old", "kill"]
        );
        let resolved = resolve(&profile, &[]).unwrap();
        assert_eq!(resolved["architectures"], json!([HERE.0, "SCMP_ARCH_X86"]));
        assert_eq!(resolved["syscalls"][4]["errnoRet"], 38);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for profile in [
            json!({}),
            json!([]),
            json!({"defaultAction": "SCMP_ACT_BOGUS"}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
                   "archMap": [{"architecture": HERE.0}]}),
        ] {
            assert!(resolve(&profile, &[]).is_err(), "{profile}");
        }
    }
}
