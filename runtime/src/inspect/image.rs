//! What an image is, and what containers of it begin with.

use serde_json::{Value, json};

use super::{layers, time};
use crate::image::{Image, Reference};

/// An image, with its configuration as it came: `oci-spec` leaves out what is Docker's alone.
#[must_use]
pub fn image(image: &Image, whole: &Value) -> Value {
    let config = &image.config;
    json!({
        "Id": image.id.to_string(),
        "RepoTags": image.names.iter().map(Reference::to_string).collect::<Vec<_>>(),
        "RepoDigests": [],
        "Parent": "",
        "Comment": comment(image),
        "Created": time(image.created),
        "DockerVersion": "",
        "Author": config.author().clone().unwrap_or_default(),
        "Config": of_image(whole),
        "Architecture": config.architecture().to_string(),
        "Os": config.os().to_string(),
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": layers(&image.layers)}},
        "RootFS": {"Type": "layers", "Layers": config.rootfs().diff_ids()},
    })
}

/// What was said when it was made.
fn comment(image: &Image) -> String {
    let last = image.config.history().iter().flatten().next_back();
    last.and_then(|step| step.comment().clone()).unwrap_or_default()
}

/// What containers of it begin with; `null` where it says nothing.
fn of_image(whole: &Value) -> Value {
    let said = |name: &str| whole.get("config")?.get(name).filter(|value| !value.is_null());
    let text = |name: &str| said(name).cloned().unwrap_or_else(|| json!(""));
    let other = |name: &str| {
        let mut value = said(name).cloned().unwrap_or(Value::Null);
        value.sort_all_objects();
        value
    };
    let mut config = json!({"Hostname": "", "Domainname": "", "User": text("User")});
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
        config[name] = json!(false);
    }
    for name in ["Env", "Cmd"] {
        config[name] = other(name);
    }
    config["Image"] = json!("");
    config["Volumes"] = other("Volumes");
    config["WorkingDir"] = text("WorkingDir");
    for name in ["Entrypoint", "OnBuild", "Labels"] {
        config[name] = other(name);
    }
    if said("ExposedPorts").is_some() {
        config["ExposedPorts"] = other("ExposedPorts");
    }
    for name in ["Healthcheck", "ArgsEscaped", "StopSignal", "Shell"] {
        if let Some(value) = said(name) {
            config[name] = value.clone();
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_what_its_configuration_says() {
        let check = json!({"Test": ["CMD", "true"], "Interval": 5});
        let got = of_image(&json!({"config": {
            "User": null,
            "Healthcheck": check,
            "Labels": {"b": "1", "a": "2"},
            "OnBuild": ["RUN true"],
            "Shell": ["/bin/sh", "-c"],
        }}));
        assert_eq!(got["User"], "");
        assert_eq!(got["Healthcheck"].to_string(), check.to_string());
        assert_eq!(got["Labels"].to_string(), r#"{"a":"2","b":"1"}"#);
        assert_eq!(got["OnBuild"], json!(["RUN true"]));
        assert_eq!(got["Shell"], json!(["/bin/sh", "-c"]));
        let silent = of_image(&json!({}));
        for (name, want) in [("OnBuild", Some(&Value::Null)), ("Healthcheck", None)] {
            assert_eq!(silent.get(name), want, "{name}");
        }
    }
}
