//! A network of our own: each host in its own namespace, all on one switch, and links that can be cut one way.
//!
//! ```text
//!   tests ── switch (bridge) ─┬─ host 1   198.18.x.1
//!   .254                      ├─ host 2   198.18.x.2
//!                             └─ ...
//! ```
//!
//! A cut link loses packets silently, as a broken network does: the receiver drops what comes from the sender, and
//! counts it, so that a partition nobody ran into is not taken for one. Tests reach every host at all times.
//! Needs root, and the programs `ip` (iproute2) and `nft` (nftables).

use std::{
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};

use crate::space::{Apart, Space, run};

/// Hosts that fit a network.
pub const HOSTS_MAX: usize = 200;
/// Networks are /24s of 198.18.0.0/16, which is set aside for tests of networks.
const PREFIX: [u8; 2] = [198, 18];
/// The tests' own address in each network.
const TESTS: u8 = 254;
const FILTER: &str =
    "add table inet lethe\nadd chain inet lethe cuts { type filter hook input priority 0; policy accept; }\n";

/// The network. Gone when dropped, once the programs in it have ended; cuts go with it.
#[derive(Debug)]
pub struct Network {
    number: u8,
    hosts: Vec<Arc<Space>>,
    switch: Space,
}

impl Network {
    /// Makes a network of this many hosts, numbered from 0.
    pub fn create(hosts: usize) -> Result<Self> {
        let (number, switch) = join_switch()?;
        let mut network = Self { number, hosts: Vec::new(), switch };
        for _ in 0..hosts {
            network.add_host()?;
        }
        Ok(network)
    }

    /// Adds a host and gives its number.
    pub fn add_host(&mut self) -> Result<usize> {
        let host = self.hosts.len();
        ensure!(host < HOSTS_MAX, "a network has at most {HOSTS_MAX} hosts");
        let space = Space::create(Apart::Network)?;
        let port = format!("port{host}");
        let plug = format!(
            "link add {port} type veth peer name eth0 netns {}\nlink set {port} master br0\nlink set {port} up\n",
            space.pid()
        );
        self.switch.run("ip", &["-batch".as_ref(), "-".as_ref()], &plug)?;
        let up = format!(
            "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n",
            address(self.number, host as u8 + 1)
        );
        space.run("ip", &["-batch".as_ref(), "-".as_ref()], &up)?;
        space.run("nft", &["-f".as_ref(), "-".as_ref()], FILTER).context("partitions need nftables")?;
        self.hosts.push(Arc::new(space));
        Ok(host)
    }

    /// A host's namespace: programs started there have its address.
    pub fn space(&self, host: usize) -> Arc<Space> {
        Arc::clone(&self.hosts[host])
    }

    /// A host's address.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        address(self.number, host as u8 + 1)
    }

    /// The tests' own address, which no cut concerns.
    pub fn tests(&self) -> Ipv4Addr {
        address(self.number, TESTS)
    }

    /// From now on nothing that `from` sends reaches `to`. The way back stays open.
    pub fn cut(&self, from: usize, to: usize) -> Result<()> {
        let rule = format!("add rule inet lethe cuts ip saddr {} counter drop\n", self.address(from));
        self.hosts[to].run("nft", &["-f".as_ref(), "-".as_ref()], &rule)?;
        Ok(())
    }

    /// Cuts both ways between each of `some` and each of `others`.
    pub fn part(&self, some: &[usize], others: &[usize]) -> Result<()> {
        for a in some {
            for b in others {
                self.cut(*a, *b)?;
                self.cut(*b, *a)?;
            }
        }
        Ok(())
    }

    /// Packets that each cut has swallowed, for every cut since the last [`Network::heal`].
    pub fn swallowed(&self) -> Result<Vec<u64>> {
        let mut swallowed = Vec::new();
        for host in &self.hosts {
            let rules = host.run("nft", &["list".as_ref(), "table".as_ref(), "inet".as_ref(), "lethe".as_ref()], "")?;
            // Each rule is listed as `ip saddr A counter packets N bytes M drop`.
            let counts = rules.split("packets ").skip(1).map(|rest| rest.split(' ').next().unwrap_or_default().parse());
            for count in counts {
                swallowed.push(count.context("a count of packets")?);
            }
        }
        Ok(swallowed)
    }

    /// All of them together.
    pub fn dropped(&self) -> Result<u64> {
        Ok(self.swallowed()?.into_iter().sum())
    }

    /// Opens all links again.
    pub fn heal(&self) -> Result<()> {
        for host in &self.hosts {
            host.run("nft", &["-f".as_ref(), "-".as_ref()], "flush chain inet lethe cuts\n")?;
        }
        Ok(())
    }
}

/// Makes a switch and joins it: the first network that nobody on this machine uses.
fn join_switch() -> Result<(u8, Space)> {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let switch = Space::create(Apart::Network)?;
    let bridge = "link set lo up\nlink add br0 type bridge\nlink set br0 up\n";
    switch.run("ip", &["-batch".as_ref(), "-".as_ref()], bridge).context("networks need iproute2")?;
    let mut refusals = String::new();
    for _ in 0..=u8::MAX {
        let begin = (std::process::id() % 256) as u8;
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("lethe{number}");
        // The name is taken while another network of this number is there: that makes the number ours.
        let pid = switch.pid().to_string();
        let add = ["link", "add", &name, "type", "veth", "peer", "name", "tests", "netns", &pid];
        match run(Command::new("ip").args(add), "") {
            Ok(_) => {}
            Err(error) if format!("{error:#}").contains("File exists") => continue,
            Err(error) => {
                refusals = format!("{error:#}");
                continue;
            }
        }
        let up = format!("addr add {}/24 dev {name}\nlink set {name} up\n", address(number, TESTS));
        run(Command::new("ip").args(["-batch", "-"]), &up)?;
        let plug = "link set tests master br0\nlink set tests up\n";
        switch.run("ip", &["-batch".as_ref(), "-".as_ref()], plug)?;
        return Ok((number, switch));
    }
    bail!("no network is free: {refusals}")
}

fn address(network: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(PREFIX[0], PREFIX[1], network, host)
}

/// Tries it: makes a network of two hosts, cuts a link, and finds that it counts. Says why it did not work.
pub fn try_network() -> Result<()> {
    let network = Network::create(2)?;
    network.cut(0, 1)?;
    ensure!(network.dropped()? == 0, "nothing was sent");
    network.heal()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::UdpSocket,
        time::{Duration, Instant},
    };

    use rustix::{
        fd::AsFd,
        thread::{LinkNameSpaceType, move_into_link_name_space},
    };

    use super::*;
    use crate::can;

    /// A socket of a host: it stays in the network it was made in.
    fn socket(network: &Network, host: usize) -> UdpSocket {
        let space = File::open(format!("/proc/{}/ns/net", network.space(host).pid())).unwrap();
        let address = network.address(host);
        let made = std::thread::spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            UdpSocket::bind((address, 9)).unwrap()
        });
        made.join().unwrap()
    }

    /// Whether a datagram arrives, or is counted as swallowed.
    fn arrives(network: &Network, from: &UdpSocket, to: &UdpSocket) -> bool {
        let swallowed = network.dropped().unwrap();
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        to.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if to.recv_from(&mut [0; 8]).is_ok() {
                return true;
            }
            if network.dropped().unwrap() > swallowed {
                return false;
            }
            assert!(Instant::now() < until, "a datagram neither arrived nor was swallowed");
        }
    }

    #[test]
    fn a_cut_link_swallows_what_is_sent_one_way_and_heals() {
        if !can("make networks", try_network) {
            return;
        }
        let network = Network::create(3).unwrap();
        let hosts = [0, 1, 2].map(|host| socket(&network, host));
        let pairs = || [(0, 1), (1, 0), (0, 2)].map(|(from, to)| arrives(&network, &hosts[from], &hosts[to]));
        let before = pairs();
        network.cut(0, 1).unwrap();
        let cut = pairs();
        network.part(&[0], &[1]).unwrap();
        let parted = pairs();
        network.heal().unwrap();
        assert_eq!((before, cut, parted, pairs()), ([true; 3], [false, true, true], [false, false, true], [true; 3]));
    }
}
