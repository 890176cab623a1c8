//! The lab's network: a bridge, and a network namespace with an address of its own for each host.
//!
//! The bridge's own address is where the API server and the hosts' proxies listen. There is no way out.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::command;

const BRIDGE: &str = "lab";

/// The address of the bridge, as all hosts see it.
pub const LAB_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// How packets of a host that is cut off are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// They vanish: connections hang.
    Silent,
    /// New and open connections are refused with a TCP reset.
    Refuse,
}

/// One host's end of the network.
#[derive(Clone, Debug)]
pub struct HostNetwork {
    /// The name of the network namespace under /run/netns.
    pub namespace: String,
    /// The host's address.
    pub address: Ipv4Addr,
    /// The bridge's port that leads to the host.
    port: String,
}

/// Makes the bridge and the tables for [`HostNetwork::cut`].
pub async fn set_up() -> Result<()> {
    let address = format!("{LAB_ADDRESS}/16");
    command::run("ip", &["link", "add", BRIDGE, "type", "bridge"]).await?;
    command::run("ip", &["address", "add", &address, "dev", BRIDGE]).await?;
    command::run("ip", &["link", "set", BRIDGE, "up"]).await?;
    nft("table bridge lab {
            chain from { type filter hook prerouting priority 0; }
            chain to { type filter hook postrouting priority 0; }
        }
        table inet lab {
            chain input { type filter hook input priority 0; }
        }")
    .await
}

impl HostNetwork {
    /// Makes the namespace of the host with this number (from 0).
    pub async fn new(name: &str, number: u8) -> Result<Self> {
        let address = Ipv4Addr::new(10, 77, 1, number + 1);
        let port = format!("host{number}");
        command::run("ip", &["netns", "add", name]).await?;
        command::run("ip", &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name])
            .await?;
        command::run("ip", &["link", "set", &port, "master", BRIDGE, "up"]).await?;
        let with_prefix = format!("{address}/16");
        command::run("ip", &["-n", name, "address", "add", &with_prefix, "dev", "eth0"]).await?;
        command::run("ip", &["-n", name, "link", "set", "lo", "up"]).await?;
        command::run("ip", &["-n", name, "link", "set", "eth0", "up"]).await?;
        let gateway = LAB_ADDRESS.to_string();
        command::run("ip", &["-n", name, "route", "add", "default", "via", &gateway]).await?;
        Ok(Self { namespace: name.to_owned(), address, port })
    }

    /// Cuts the host off, in both directions; replaces an earlier cut.
    pub async fn cut(&self, how: Cut) -> Result<()> {
        let port = &self.port;
        let rules = match how {
            Cut::Silent => format!(
                "add rule bridge lab from iifname {port} drop comment \"{port}\"
                 add rule bridge lab to oifname {port} drop comment \"{port}\""
            ),
            // Not in the bridge: not every kernel can reject there. Hosts talk to nobody but the lab's address.
            Cut::Refuse => format!(
                "add rule inet lab input ip saddr {} meta l4proto tcp reject with tcp reset comment \"{port}\"",
                self.address
            ),
        };
        self.restore().await?;
        nft(&rules).await
    }

    /// Lets the host's packets through again.
    pub async fn restore(&self) -> Result<()> {
        for family in ["bridge", "inet"] {
            let rules = command::run("nft", &["--handle", "list", "table", family, "lab"]).await?;
            let mut chain = "";
            for line in rules.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    ["chain", name, ..] => chain = name,
                    [.., "handle", handle] if line.contains(&format!("comment \"{}\"", self.port)) => {
                        nft(&format!("delete rule {family} lab {chain} handle {handle}")).await?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

async fn nft(commands: &str) -> Result<()> {
    command::run_with_input("nft", &["-f", "-"], Some(commands.as_bytes())).await?;
    Ok(())
}
