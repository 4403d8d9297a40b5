//! Those who call `twill-cni` in earnest, on machines where the package is installed: Podman with its CNI back
//! end, and containerd through its CRI, which is how a kubelet uses it.
//!
//! ```text
//!   node1: etcd.service   twilld.service   a container of twill, `web`
//!   node2:                twilld.service   pods of the caller
//!   node3:                twilld.service   pods of the caller, where there is a third one
//! ```

mod containerd;
mod cri;
mod left;
mod podman;
mod sandboxes;
mod survivors;
mod world;
