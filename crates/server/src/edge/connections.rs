//! How many connections there may be: in all, and from one address.
//!
//! Each connection takes a file descriptor, and the database needs some too. So the descriptors that the process may
//! open bound the connections, and one address has a share of them. Peers on this machine have no share of their own:
//! a proxy in front of the server brings everybody's connections from there, and bounds them itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Limits;
use crate::rates::one_address;

/// Descriptors for the database, the log and what else the process opens.
const OTHER_DESCRIPTORS: usize = 96;

/// More descriptors are not asked for.
const MOST_DESCRIPTORS: u64 = 65_536;

/// The open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    of_an_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// A place among the connections, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    /// None for a peer without a share of its own.
    address: Option<IpAddr>,
}

impl Connections {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let most = limits.connections.unwrap_or_else(within_descriptors);
        Arc::new(Self { most, of_an_address: limits.connections_of_an_address, open: Mutex::default() })
    }

    /// The same for answers that are streams: half of the connections are left to all others.
    pub(crate) fn for_streams(limits: &Limits) -> Arc<Self> {
        let connections = limits.connections.unwrap_or_else(within_descriptors);
        let most = limits.streams.min(connections / 2);
        Arc::new(Self { most, of_an_address: limits.streams_of_an_address, open: Mutex::default() })
    }

    /// A place for a connection from there; none when there are as many as may be.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let address = Some(one_address(peer)).filter(|address| !address.is_loopback());
        let mut open = self.open.lock().expect("nothing panics while it is held");
        if open.all >= self.most {
            return None;
        }
        if let Some(address) = address {
            let of_it = open.of.entry(address).or_default();
            if *of_it >= self.of_an_address {
                return None;
            }
            *of_it += 1;
        }
        open.all += 1;
        Some(Place { connections: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().expect("nothing panics while it is held");
        open.all -= 1;
        let Some(address) = self.address else { return };
        let of_it = open.of.get_mut(&address).expect("its place is counted");
        *of_it -= 1;
        if *of_it == 0 {
            open.of.remove(&address);
        }
    }
}

/// How many connections the descriptors of this process are enough for. More of them are asked for where that is free.
fn within_descriptors() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(MOST_DESCRIPTORS, |most| most.min(MOST_DESCRIPTORS));
    let got = match current {
        Some(now) if now < wanted => {
            let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
            raised.map_or(now, |()| wanted)
        }
        _ => wanted.max(current.unwrap_or(wanted)),
    };
    let descriptors = usize::try_from(got).unwrap_or(usize::MAX);
    descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, of_an_address: usize) -> Arc<Connections> {
        Connections::new(&Limits {
            connections: Some(most),
            connections_of_an_address: of_an_address,
            ..Limits::default()
        })
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let connections = connections(100, 2);
        let admit = |peer: &str| connections.admit(peer.parse().unwrap());
        let places = [admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap()];
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        let _six = [admit("2001:db8::1").unwrap(), admit("2001:db8::2:1").unwrap()];
        assert!(admit("2001:db8::3").is_none(), "a network of one household is one address");
        drop(places);
        assert!(admit("192.0.2.1").is_some());
        assert_eq!(connections.open.lock().unwrap().of.len(), 1, "addresses that are gone are forgotten");
    }

    #[test]
    fn peers_on_this_machine_share_what_there_is() {
        let connections = connections(3, 1);
        let admit = |peer: &str| connections.admit(peer.parse().unwrap());
        let _places = [admit("127.0.0.1"), admit("127.0.0.1"), admit("::1")].map(Option::unwrap);
        assert!(admit("127.0.0.1").is_none());
        assert!(admit("192.0.2.1").is_none());
    }

    #[test]
    fn there_are_descriptors_for_more_than_connections() {
        let most = within_descriptors();
        let descriptors = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| most as usize);
        assert!(most > 0 && most < descriptors, "{most} of {descriptors}");
    }
}
