//! Words for whoever calls the plugin by hand.

/// What `--help` says, after the line that everybody gets.
pub(crate) const HELP: &str = "
Called by a container runtime (containerd, CRI-O, Podman, Nomad) as the CNI specification says: CNI_COMMAND is one of
ADD, DEL, CHECK, STATUS, GC, VERSION; the network's configuration comes on stdin, a result or an error goes to stdout.

By hand, for a namespace that `ip netns add pod` has made:
  export CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0
  conf='{\"cniVersion\":\"1.0.0\",\"name\":\"twill\",\"type\":\"twill-cni\"}'
  echo \"$conf\" | CNI_COMMAND=ADD twill-cni
  echo \"$conf\" | CNI_COMMAND=DEL twill-cni

All keys, capabilities and errors are in docs/cni.md of the sources.
";
