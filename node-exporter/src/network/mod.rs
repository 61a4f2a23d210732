//! Collectors of networks: devices, protocols, connections, fabrics.

mod arp;
mod bonding;
mod conntrack;
mod ethtool;
mod fibrechannel;
mod infiniband;
mod ipvs;
mod lnstat;
mod netclass;
mod netdev;
mod netlink;
mod netstat;
mod qdisc;
mod routes;
mod sockstat;
mod softnet;
mod tcpstat;
mod udp_queues;
mod xfrm;

pub(crate) use arp::collect as arp;
pub(crate) use bonding::collect as bonding;
pub(crate) use conntrack::collect as conntrack;
pub(crate) use ethtool::collect as ethtool;
pub(crate) use fibrechannel::collect as fibrechannel;
pub(crate) use infiniband::collect as infiniband;
pub(crate) use ipvs::{LABELS as IPVS_LABELS, collect as ipvs};
pub(crate) use lnstat::collect as lnstat;
pub(crate) use netclass::collect as netclass;
pub(crate) use netdev::collect as netdev;
pub(crate) use netstat::collect as netstat;
pub(crate) use qdisc::collect as qdisc;
pub(crate) use routes::collect as network_route;
pub(crate) use sockstat::collect as sockstat;
pub(crate) use softnet::collect as softnet;
pub(crate) use tcpstat::collect as tcpstat;
pub(crate) use udp_queues::collect as udp_queues;
pub(crate) use xfrm::collect as xfrm;

/// The folder of the network devices.
const DEVICES: &str = "sys/class/net";
