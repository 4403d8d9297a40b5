//! What a kubelet asks of a container runtime, over its socket.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    LinuxPodSandboxConfig, ListPodSandboxRequest, PodSandboxConfig, PodSandboxMetadata,
    PodSandboxState, PodSandboxStatusRequest, PortMapping, Protocol, RemovePodSandboxRequest,
    RunPodSandboxRequest, StatusRequest, StopPodSandboxRequest,
};
use tokio::runtime::{Builder, Runtime};

/// One question, with a connection of its own.
macro_rules! ask {
    ($cri:ident, $verb:ident, $request:expr) => {
        $cri.runtime.block_on(async {
            let mut client = RuntimeServiceClient::connect($cri.socket.clone()).await?;
            anyhow::Ok(client.$verb($request).await?.into_inner())
        })
    };
}

pub(super) struct Cri {
    socket: String,
    runtime: Runtime,
}

/// A sandbox as it is.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) is_ready: bool,
    pub(super) address: String,
    /// Its process, by the numbers of its host; 0 for none.
    pub(super) pid: i64,
}

impl Cri {
    pub(super) fn at(socket: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket: format!("unix://{}", socket.display()), runtime })
    }

    /// Would a kubelet send pods?
    pub(super) fn is_ready(&self) -> Result<bool> {
        let said = ask!(self, status, StatusRequest { verbose: false })?;
        let conditions = said.status.context("a status")?.conditions;
        Ok(conditions.len() == 2 && conditions.iter().all(|it| it.status))
    }

    pub(super) fn run(&self, config: PodSandboxConfig) -> Result<String> {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        Ok(ask!(self, run_pod_sandbox, request)?.pod_sandbox_id)
    }

    pub(super) fn sandbox(&self, id: &str) -> Result<Sandbox> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let said = ask!(self, pod_sandbox_status, request)?;
        let status = said.status.context("a status")?;
        let info = said.info.get("info").map_or("null", String::as_str);
        let info: serde_json::Value = serde_json::from_str(info)?;
        Ok(Sandbox {
            is_ready: status.state() == PodSandboxState::SandboxReady,
            address: status.network.unwrap_or_default().ip,
            pid: info["pid"].as_i64().unwrap_or_default(),
        })
    }

    pub(super) fn stop(&self, id: &str) -> Result<()> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        ask!(self, stop_pod_sandbox, request).map(drop)
    }

    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        ask!(self, remove_pod_sandbox, request).map(drop)
    }

    pub(super) fn all(&self) -> Result<Vec<String>> {
        let said = ask!(self, list_pod_sandbox, ListPodSandboxRequest { filter: None })?;
        Ok(said.items.into_iter().map(|it| it.id).collect())
    }
}

/// What a kubelet says of a pod with a published port, and with limits as annotations have them.
pub(super) fn limited(name: &str, host_port: u16, [gets, sends]: [&str; 2]) -> PodSandboxConfig {
    let metadata = PodSandboxMetadata {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        namespace: "default".to_owned(),
        attempt: 0,
    };
    let mapping = PortMapping {
        protocol: Protocol::Tcp.into(),
        container_port: 80,
        host_port: host_port.into(),
        host_ip: String::new(),
    };
    let annotations = [("ingress", gets), ("egress", sends)]
        .map(|(way, rate)| (format!("kubernetes.io/{way}-bandwidth"), rate.to_owned()));
    PodSandboxConfig {
        metadata: Some(metadata),
        hostname: name.to_owned(),
        log_directory: format!("/var/log/pods/{name}"),
        port_mappings: vec![mapping],
        annotations: HashMap::from(annotations),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..PodSandboxConfig::default()
    }
}
