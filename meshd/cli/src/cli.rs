//! The command line, as clap reads it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::output::Format;

/// Where meshd listens unless told otherwise.
const DEFAULT_SOCKET: &str = "/run/meshd/meshd.sock";

/// Where a node keeps its cluster secret unless told otherwise.
const DEFAULT_SECRET: &str = "/etc/meshd/cluster.secret";

/// Where a node keeps its configuration unless told otherwise.
const DEFAULT_CONFIG: &str = "/etc/meshd/meshd.yaml";

/// Looks into the WireGuard mesh of this node.
///
/// Data goes to stdout, notes to stderr. Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 degraded
/// (status and test only), 4 meshd cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Control socket of meshd
    #[arg(
        long,
        global = true,
        env = "MESHCTL_SOCKET",
        default_value = DEFAULT_SOCKET,
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,
    /// Ask the meshd at this address over TCP instead, for reading only: its `remote.listen`
    #[arg(
        long,
        global = true,
        env = "MESHCTL_REMOTE",
        value_name = "ADDRESS:PORT",
        requires = "token_file"
    )]
    pub(crate) remote: Option<SocketAddr>,
    /// File with the token of --remote
    #[arg(long, global = true, env = "MESHCTL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    /// Print again and again, every 2 seconds or as often as told
    #[arg(
        long,
        short,
        global = true,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3_600)
    )]
    pub(crate) watch: Option<u64>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is this node well, and if not, what to do
    Status,
    /// The tunnels of this node
    Peers,
    /// Every member of the cluster, this node included
    Members,
    /// Every candidate of one peer, and why it is or is not used
    Paths {
        /// Name or id of the peer
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// The whole mesh: zones, nodes, tunnels and native links
    #[command(alias = "graph")]
    Topology(TopologyArgs),
    /// Show the live mesh in a browser on this machine, until Ctrl-C
    Ui {
        /// Where to listen; loopback addresses only
        #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
    },
    /// What is routed where: into tunnels, natively, or nowhere; and why
    Routes,
    /// Which rule, route, peer and path a packet to an address takes, and why
    Explain {
        /// Destination of the packet
        #[arg(value_name = "IP")]
        address: IpAddr,
    },
    /// Ask a peer through the tunnel, and show which path answered
    Ping {
        /// Name or id of the peer
        #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// How many times, a second apart
        #[arg(long, short, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// What the network here lets through: discovery, UDP, NAT, clock, port, MTU
    Netcheck,
    /// Is the whole mesh connected, and if not, why not
    Test {
        /// Write the outcome as JUnit XML, too
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Peers with their traffic, problems and events, live, until Ctrl-C
    Top {
        /// Seconds between two pictures
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        interval: u64,
        /// End after so many pictures
        #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..))]
        count: Option<u32>,
    },
    /// What happened: the last 1,000 events of this node
    Events {
        /// Go on printing what happens, until Ctrl-C
        #[arg(long, short)]
        follow: bool,
    },
    /// Endpoint filters
    #[command(subcommand)]
    Filter(FilterCommand),
    /// Configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// For a person who helps
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Cluster secret and cluster id
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Remove members for good; needs the admin key
    #[command(subcommand)]
    Member(MemberCommand),
    /// The WireGuard key of this node
    #[command(subcommand)]
    Key(KeyCommand),
    /// The WireGuard configuration of this node or of a stock peer, private keys left out
    Showconf {
        /// Print what this external peer has to configure to reach this node
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        as_peer: Option<String>,
    },
    /// Tell the others that this node leaves for good, then stop meshd
    Leave {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Print a completion script for a shell
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page, or write that of every command
    Man {
        /// Write meshctl.1 and a page for each command into this directory; created if missing
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
    /// Versions of meshctl and of the running meshd
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct TopologyArgs {
    /// Form; without it -o decides
    #[arg(long, value_enum)]
    pub(crate) format: Option<TopologyFormat>,
    /// Draw every zone as one node
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) group: Option<GroupBy>,
    /// What the colours of svg and html mean; broken links keep theirs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) color: ColorBy,
    /// Draw a topology from a file of JSON instead of asking meshd; - for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}

/// Forms of a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopologyFormat {
    Table,
    /// What is broken, and a matrix of the zones
    Ascii,
    Json,
    /// Graphviz
    Dot,
    Mermaid,
    /// A picture
    Svg,
    /// A page with search and zoom, in one file
    Html,
}

/// What a topology is grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    Zone,
}

/// What colours mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorBy {
    #[default]
    State,
    Rtt,
    Loss,
}

impl ColorBy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Rtt => "rtt",
            Self::Loss => "loss",
        }
    }

    /// Class of the style sheet.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::State => "color-state",
            Self::Rtt => "color-rtt",
            Self::Loss => "color-loss",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// What each entry of a filter does to each candidate; works without a daemon
    Test(FilterTest),
}

#[derive(Debug, Args)]
pub(crate) struct FilterTest {
    /// A meshd.yaml, a YAML list or one entry a line; - for stdin
    #[arg(default_value = DEFAULT_CONFIG)]
    pub(crate) file: PathBuf,
    /// Candidate to put through the filter, IP or IP:PORT; without any, the running meshd is asked
    #[arg(long = "candidate", short, value_name = "IP[:PORT]")]
    pub(crate) candidates: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// What is wrong with a configuration and what will surprise; asks `meshd --check`
    Check {
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Print a meshd.yaml made from another program's configuration
    Import {
        /// A Talos machine configuration with KubeSpan; - for stdin
        #[arg(long, value_name = "FILE")]
        talos: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Write everything a helper has to see into a tar archive, secrets left out
    Bundle {
        /// Archive to write; must not exist
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Configuration to put in
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a new cluster: write cluster.secret and cluster.admin, print the cluster id
    Init {
        /// Where to write; created if missing
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Replace the cluster secret without an outage, in two steps
    ///
    /// First without --finish: a new secret comes before the old one. Copy the file to every node and
    /// reload meshd there (SIGHUP); tunnels move over as both ends have it. Then with --finish: the old
    /// secrets are dropped; copy and reload again. Whoever has only an old one is left out.
    Rotate {
        /// The secret file to change
        #[arg(long = "secret", default_value = DEFAULT_SECRET, value_name = "FILE")]
        file: PathBuf,
        /// Drop the old secrets
        #[arg(long)]
        finish: bool,
    },
    /// Print the cluster id that belongs to a secret file
    Id {
        #[arg(default_value = DEFAULT_SECRET)]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Replace this node's WireGuard key without an outage
    ///
    /// A new key is made here and named in this node's record. Connected members hear of it, then it is used;
    /// sessions under the old key go on until there are new ones. Needs a connected discovery server.
    Rotate {
        /// Do it although external peers are cut off until they are given the new key
        #[arg(long)]
        cut_external_peers: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Remove a member for good: stolen, lost or dismissed, whatever it goes on publishing
    ///
    /// Every node drops it as soon as it hears of it, from discovery or through a tunnel. Whoever has its
    /// disk still has the cluster secret: replace that afterwards (`cluster rotate`).
    Remove(MemberChange),
    /// Lift the removal of a member
    Restore(MemberChange),
}

#[derive(Debug, Args)]
pub(crate) struct MemberChange {
    /// Name or id
    #[arg(value_name = "NAME|ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) member: String,
    /// The admin key, as `cluster init` wrote it
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_key: PathBuf,
    /// The secret file in force
    #[arg(long, default_value = DEFAULT_SECRET, value_name = "FILE")]
    pub(crate) secret: PathBuf,
}
