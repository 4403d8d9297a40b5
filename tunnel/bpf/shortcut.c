// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The kernel's own way for what is ordinary: packets of IPv4 between two hosts that know each other, in the very
// format of the tunnel in user space (a bare packet in a datagram). Whatever is not ordinary, or not certain, goes
// on as if this were not here (TC_ACT_UNSPEC): the tunnel in user space judges, answers and counts it.
//
//   leave  egress of the tunnel's device     container ─► wire
//   enter  ingress of the uplink             wire ─► the tunnel's device, as if the tunnel had written it there
//   lift   ingress of the lift               the same for super-packets, see `enter`
//
// They outlive whoever put them in, but not for long: who leads them says again and again until when they may
// carry, because nobody else tells them of peers that come and go.
//
// (The licence is named so that the kernel lets it look at routes.)

#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define PLAIN_HEADER 0x45 /* IPv4 without options */
#define FRAGMENT bpf_htons(0x3fff)
#define ECN 3
#define MOST_PEERS 65536
#define LONGEST 65535 /* with all headers */
#define LONGEST_PLAIN 16000 /* of one packet: the kernel makes none longer that is a whole one before */
/* How long a peer's packets keep to a slower way, lest one overtakes those before. */
#define AFTER_TRAIN 1000000000ULL
#define AFTER_SUPER_PACKET 20000000ULL
/* How long it is believed that the way to a peer leads by the uplink. */
#define WAY_HOLDS 1000000000ULL

/* Set before the programs are loaded. Addresses and ports are in the order of the wire. */
const volatile __u32 underlay = 0;
const volatile __u32 port = 0;
const volatile __u32 device = 0;
const volatile __u32 uplink = 0;
const volatile __u32 mtu = 0;
const volatile __u32 own_base = 0;
const volatile __u32 own_mask = 0;
const volatile __u32 shown_class = 0; /* which bits of an inner type of service the outer one shows */
const volatile __u32 lift_network = 0; /* what only those who put these programs in know */
const volatile __u32 lift_secret = 0;

struct block {
	__u32 length;
	__u32 base;
};

struct owner {
	__u32 underlay;
	__u32 takes_unfinished; /* packets whose checksums, or cuts, are left to whoever needs them */
};

struct host {
	__u64 train;        /* when datagrams came that were joined, which only user space takes apart */
	__u64 super_packet; /* when one was lifted */
	__u64 way;          /* when the way to it was found to lead by the uplink */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_PEERS);
	__type(key, struct block);
	__type(value, struct owner);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_PEERS);
	__type(key, __u32);
	__type(value, struct host);
} hosts SEC(".maps");

/* The moment up to which packets may be carried, by the kernel's clock that never jumps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} until SEC(".maps");

/* The port of the lift, in the order of the wire. 0 while there is none that is up: anybody could have the port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} lift_port SEC(".maps");

enum number { SENT, SENT_BYTES, RECEIVED, RECEIVED_BYTES, LOST, NUMBERS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NUMBERS);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct outer {
	struct iphdr ip;
	struct udphdr udp;
};

/* Of VXLAN with the protocol of what is inside (draft-ietf-nvo3-vxlan-gpe). */
struct lifted {
	__u8 flags;
	__u8 reserved[2];
	__u8 protocol;
	__u32 network;
};

static __always_inline void count(__u32 number, __u64 more)
{
	__u64 *value = bpf_map_lookup_elem(&numbers, &number);
	if (value)
		*value += more;
}

/* Is somebody there who tells us of the peers, or was a moment ago? */
static __always_inline int is_led(__u64 now)
{
	__u32 only = 0;
	__u64 *moment = bpf_map_lookup_elem(&until, &only);
	return moment && now < *moment;
}

/* 0 if nothing may be lifted. */
static __always_inline __u32 port_of_lift(void)
{
	__u32 only = 0, *port = bpf_map_lookup_elem(&lift_port, &only);
	return port ? *port : 0;
}

/* A super-packet with `gso` bytes of payload behind each header is several packets. */
static __always_inline void count_packets(__u32 number, __u32 len, __u32 headers, __u32 gso)
{
	__u32 packets = gso && len > headers ? (len - headers + gso - 1) / gso : 1;
	count(number, packets);
	count(number + 1, len + (packets - 1) * headers);
}

/* The sum of a header, 0xffff if its checksum is right. */
static __always_inline __u16 sum(const struct iphdr *ip)
{
	const __u16 *word = (const void *)ip;
	__u32 sum = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Replaces a word of a header, and keeps its checksum right (RFC 1624). */
static __always_inline void replace(struct iphdr *ip, __u16 *word, __u16 with)
{
	__u32 sum = (__u16)~ip->check + (__u16)~*word + with;
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	*word = with;
}

static __always_inline int is_common(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP;
}

/* Whose address is it? */
static __always_inline struct owner *owner_of(__u32 address)
{
	struct block block = { 32, address };
	return bpf_map_lookup_elem(&owners, &block);
}

/* Where does the way to a peer lead? By the uplink and no gateway of IPv6, if anything is to take the shortcut. */
static __always_inline long look_up(struct __sk_buff *skb, struct bpf_fib_lookup *way, __u32 to, __u32 len)
{
	/* To the last byte: who has no CAP_PERFMON may not hand over what was never written. */
	__builtin_memset(way, 0, sizeof(*way));
	way->family = AF_INET;
	way->l4_protocol = IPPROTO_UDP;
	way->sport = port;
	way->dport = port;
	way->tot_len = len;
	way->ifindex = device;
	way->ipv4_src = underlay;
	way->ipv4_dst = to;
	long found = bpf_fib_lookup(skb, way, sizeof(*way), 0);
	if ((found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) || way->ifindex != uplink ||
	    way->family != AF_INET)
		return -1;
	return found;
}

/* UDP without a checksum was protected by the datagram's, which ours has none of. (In one that is not finished
 * yet the field is not 0.) */
static __always_inline int is_protected(const struct iphdr *ip, const struct udphdr *udp)
{
	return ip->protocol != IPPROTO_UDP || udp->check;
}

/* Makes `len` bytes readable, where there are so many. (Who has no CAP_PERFMON may not subtract the two.) */
static __always_inline int reach(struct __sk_buff *skb, __u32 len)
{
	if ((void *)(long)skb->data + len <= (void *)(long)skb->data_end)
		return 1;
	return skb->len >= len && bpf_skb_pull_data(skb, len) == 0;
}

SEC("classifier")
int twill_leave(struct __sk_buff *skb)
{
	__u32 len = skb->len, gso = skb->gso_size, headers = sizeof(struct iphdr), longest = len;

	if (skb->protocol != bpf_htons(ETH_P_IP) || !is_led(bpf_ktime_get_ns()))
		return TC_ACT_UNSPEC;
	if (gso ? !reach(skb, headers + sizeof(struct tcphdr)) : !reach(skb, headers + sizeof(struct udphdr)))
		return TC_ACT_UNSPEC;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct udphdr *udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return TC_ACT_UNSPEC;
	if (*(__u8 *)ip != PLAIN_HEADER || ip->frag_off & FRAGMENT || ip->ttl <= 1 || bpf_ntohs(ip->tot_len) != len)
		return TC_ACT_UNSPEC;
	if (gso) {
		struct tcphdr *tcp = (void *)(ip + 1);
		if (ip->protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
			return TC_ACT_UNSPEC;
		headers += tcp->doff * 4;
		longest = headers + gso;
	}
	if (!is_common(ip->protocol) || longest > mtu || len > (gso ? LONGEST - sizeof(struct outer) : LONGEST_PLAIN) ||
	    !is_protected(ip, udp))
		return TC_ACT_UNSPEC;
	struct owner *owner = owner_of(ip->daddr);
	if (!owner || !owner->takes_unfinished)
		return TC_ACT_UNSPEC;
	__u32 to = owner->underlay;
	__u8 class = ip->tos & shown_class;

	struct bpf_fib_lookup way;
	long found = look_up(skb, &way, to, longest + sizeof(struct outer));
	if (found < 0)
		return TC_ACT_UNSPEC;

	/* Cut by the kernel behind the uplink, if that cannot; the segments' lengths stay as they are. */
	if (bpf_skb_adjust_room(skb, sizeof(struct outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP))
		return TC_ACT_UNSPEC;
	/* From here on it cannot go back. The neighbour's address is written by the kernel. */
	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		goto lost;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct outer *outer = (void *)(eth + 1);
	ip = (void *)(outer + 1);
	if ((void *)(ip + 1) > end)
		goto lost;
	eth->h_proto = bpf_htons(ETH_P_IP);
	*(__u8 *)&outer->ip = PLAIN_HEADER;
	outer->ip.tos = class;
	outer->ip.tot_len = bpf_htons(len + sizeof(*outer));
	outer->ip.id = bpf_get_prandom_u32();
	outer->ip.frag_off = 0;
	outer->ip.ttl = 64;
	outer->ip.protocol = IPPROTO_UDP;
	outer->ip.check = 0;
	outer->ip.saddr = underlay;
	outer->ip.daddr = to;
	outer->ip.check = ~sum(&outer->ip);
	outer->udp.source = port;
	outer->udp.dest = port;
	outer->udp.len = bpf_htons(len + sizeof(outer->udp));
	outer->udp.check = 0;
	__u16 *hops = (void *)&ip->ttl;
	replace(ip, hops, *hops - bpf_htons(0x0100));

	count_packets(SENT, len, headers, gso);
	/* As one that user space sends: marks of rules of the host would choose it another way than was looked up. */
	skb->mark = 0;
	skb->priority = 0;
	/* One whose address is not known yet has the packet wait, and that takes a route of its own. */
	if (found == BPF_FIB_LKUP_RET_NO_NEIGH)
		return bpf_redirect_neigh(uplink, NULL, 0, 0);
	struct bpf_redir_neigh next;
	__builtin_memset(&next, 0, sizeof(next));
	next.nh_family = AF_INET;
	next.ipv4_nh = way.ipv4_dst;
	return bpf_redirect_neigh(uplink, &next, sizeof(next), 0);
lost:
	count(LOST, 1);
	return TC_ACT_SHOT;
}

/* Is it a packet of one of our peers' containers to one of ours? */
static __always_inline int belongs(const struct iphdr *ip, __u32 from)
{
	if ((ip->daddr & own_mask) != own_base)
		return 0;
	struct owner *owner = owner_of(ip->saddr);
	return owner && owner->underlay == from;
}

/* Tells the packet about the congestion that its datagram met (figure 4 of RFC 6040). Fails if it cannot be told. */
static __always_inline int tell_congestion(struct iphdr *ip, __u8 outside)
{
	__u8 inside = ip->tos & ECN, told = inside;
	outside &= ECN;
	if (outside == 3 && inside == 0)
		return 0;
	if (outside == 3)
		told = 3;
	else if (outside == 1 && inside == 2)
		told = 1;
	if (told != inside)
		replace(ip, (void *)ip, *(__u16 *)ip ^ bpf_htons(inside ^ told));
	return 1;
}

SEC("classifier")
int twill_enter(struct __sk_buff *skb)
{
	const __u32 around = ETH_HLEN + sizeof(struct outer), headers = around + sizeof(struct iphdr);
	__u32 inside = sizeof(struct iphdr);

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != 0 /* to us */ || skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (!reach(skb, around))
		return TC_ACT_UNSPEC;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct outer *outer = data + ETH_HLEN;
	if ((void *)(outer + 1) > end)
		return TC_ACT_UNSPEC;
	if (*(__u8 *)&outer->ip != PLAIN_HEADER || outer->ip.protocol != IPPROTO_UDP || outer->udp.dest != port ||
	    outer->ip.daddr != underlay || outer->ip.frag_off & FRAGMENT)
		return TC_ACT_UNSPEC;
	__u32 from = outer->ip.saddr, gso = skb->gso_size;
	struct host *host = bpf_map_lookup_elem(&hosts, &from);
	if (!host)
		return TC_ACT_UNSPEC;
	__u64 now = bpf_ktime_get_ns();
	if (!is_led(now))
		return TC_ACT_UNSPEC;
	/* A train that is too short for this is user space's, but it is a train. */
	if (gso ? !reach(skb, headers + sizeof(struct tcphdr)) : !reach(skb, headers + sizeof(struct udphdr))) {
		if (gso)
			host->train = now;
		return TC_ACT_UNSPEC;
	}
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	outer = data + ETH_HLEN;
	struct iphdr *ip = (void *)(outer + 1);
	if ((void *)(ip + 1) > end)
		return TC_ACT_UNSPEC;

	/* Whole, and one packet: joined datagrams of user space are as long as all of them. */
	__u32 len = bpf_ntohs(outer->udp.len) - sizeof(outer->udp);
	if (bpf_ntohs(ip->tot_len) != len || (gso && ip->protocol != IPPROTO_TCP)) {
		if (gso)
			host->train = now;
		return TC_ACT_UNSPEC;
	}
	if (now - host->train < AFTER_TRAIN)
		return TC_ACT_UNSPEC;
	if (bpf_ntohs(outer->ip.tot_len) != len + sizeof(*outer) || skb->len < ETH_HLEN + sizeof(*outer) + len ||
	    len > LONGEST - sizeof(*outer) - sizeof(struct lifted))
		return TC_ACT_UNSPEC;
	if (*(__u8 *)ip != PLAIN_HEADER || ip->frag_off & FRAGMENT || !ip->ttl || sum(ip) != 0xffff)
		return TC_ACT_UNSPEC;
	struct udphdr *udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return TC_ACT_UNSPEC;
	if (!is_common(ip->protocol) || !is_protected(ip, udp) || !belongs(ip, from))
		return TC_ACT_UNSPEC;
	if (gso) {
		struct tcphdr *tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > end)
			return TC_ACT_UNSPEC;
		inside += tcp->doff * 4;
	}
	/* Who comes in where no way leads back to him is the kernel's to judge (rp_filter). */
	if (now - host->way >= WAY_HOLDS) {
		struct bpf_fib_lookup way;
		if (look_up(skb, &way, from, 0) < 0)
			return TC_ACT_UNSPEC;
		host->way = now;
	}

	/* (Told twice is as told once, if user space gets it after all.) */
	if (!tell_congestion(ip, outer->ip.tos))
		return TC_ACT_UNSPEC;
	/* Kernels keep the mark of a tunnel's super-packet on what bpf_skb_adjust_room took out of one, and cut it in
	 * software at the next bridge. A device of a tunnel takes the mark off; it may sit at any port, because it
	 * gets its packets by hand. Those that follow go the same way, so that none overtakes another. */
	__u32 to_lift = port_of_lift();
	if (to_lift && ip->protocol == IPPROTO_TCP &&
	    (gso || (len <= LONGEST_PLAIN && now - host->super_packet < AFTER_SUPER_PACKET))) {
		struct bpf_sock_tuple tuple = { .ipv4 = {
			.saddr = from, .daddr = underlay, .sport = port, .dport = to_lift } };
		struct bpf_sock *sock = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
		if (!sock)
			goto directly;
		long refused = bpf_sk_assign(skb, sock, 0);
		bpf_sk_release(sock);
		if (refused)
			goto directly;
		__be32 before[2];
		__builtin_memcpy(before, &outer->udp, sizeof(before));
		/* From here on it cannot go back: it has its socket, which would not know what to do with it as it is. */
		if (bpf_skb_adjust_room(skb, sizeof(struct lifted), BPF_ADJ_ROOM_MAC,
					BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)) {
			count(LOST, 1);
			return TC_ACT_SHOT;
		}
		host->super_packet = gso ? now : host->super_packet;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		outer = data + ETH_HLEN;
		struct lifted *lifted = (void *)(outer + 1);
		if ((void *)(lifted + 1) > end) {
			count(LOST, 1);
			return TC_ACT_SHOT;
		}
		*(__u8 *)&outer->ip = PLAIN_HEADER;
		outer->ip.tos = 0;
		outer->ip.tot_len = bpf_htons(len + sizeof(*outer) + sizeof(*lifted));
		outer->ip.id = 0;
		outer->ip.frag_off = 0;
		outer->ip.ttl = 64;
		outer->ip.protocol = IPPROTO_UDP;
		outer->ip.check = 0;
		outer->ip.saddr = from;
		outer->ip.daddr = underlay;
		outer->ip.check = ~sum(&outer->ip);
		outer->udp.source = port;
		outer->udp.dest = port;
		outer->udp.len = bpf_htons(len + sizeof(outer->udp) + sizeof(*lifted));
		outer->udp.check = 0;
		lifted->flags = 0x0c;
		lifted->reserved[0] = lifted->reserved[1] = 0;
		lifted->protocol = 1;
		lifted->network = bpf_htonl(lift_network << 8);
		__be32 after[4];
		__builtin_memcpy(after, &outer->udp, sizeof(after));
		bpf_csum_update(skb, bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0));
		/* No packet has this that came in from a wire or a container. */
		skb->priority = lift_secret;
		return TC_ACT_OK;
	}
directly:
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(*outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_UNSPEC;
	skb->mark = 0;
	count_packets(RECEIVED, len, inside, gso);
	return bpf_redirect(device, BPF_F_INGRESS);
}

SEC("classifier")
int twill_lift(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};

	/* Anybody can send to its port: what `enter` did not send is none of ours. */
	if (skb->priority != lift_secret ||
	    bpf_skb_get_tunnel_key(skb, &key, offsetof(struct bpf_tunnel_key, remote_ipv6[1]), 0) ||
	    key.tunnel_id != lift_network)
		return TC_ACT_SHOT;
	if (!is_led(bpf_ktime_get_ns()) || !reach(skb, sizeof(struct iphdr) + sizeof(struct tcphdr)))
		goto lost;
	struct iphdr *ip = (void *)(long)skb->data;
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		goto lost;
	if (*(__u8 *)ip != PLAIN_HEADER || sum(ip) != 0xffff || bpf_ntohs(ip->tot_len) != skb->len ||
	    !belongs(ip, bpf_htonl(key.remote_ipv4)))
		goto lost;
	skb->priority = 0;
	skb->mark = 0;
	count_packets(RECEIVED, skb->len, sizeof(*ip) + tcp->doff * 4, skb->gso_size);
	return bpf_redirect(device, BPF_F_INGRESS);
lost:
	count(LOST, 1);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
