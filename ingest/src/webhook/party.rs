//! Who answers for a request: what one of them takes is not to be missed by the others.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The bits of an IPv6 address that a host cannot choose itself.
const NETWORK_BITS: u32 = 64;

/// Who answers for a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A cluster that has shown a credential.
    Cluster(Arc<str>),
    /// Whoever is at an address, where no credential is asked for; of IPv6, the network.
    Address(IpAddr),
    /// Whoever may write to a source whose messages say themselves whose they are.
    Source(Arc<str>),
}

impl Party {
    /// Whoever is at an address.
    pub(super) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let network = address.to_bits() & (u128::MAX << NETWORK_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address => address,
        })
    }
}

impl Display for Party {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(formatter, "cluster {name}"),
            Self::Address(address) => address.fmt(formatter),
            Self::Source(name) => write!(formatter, "source {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_many_addresses_is_one_party() {
        let at = |address: &str| Party::at(address.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
        assert_eq!(at("::1").to_string(), "::1");
    }
}
