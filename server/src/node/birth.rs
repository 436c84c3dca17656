//! How a data directory began: as the first node of a cluster, or with a join file. Written once, before the identity.
//!
//! The file `birth.json` in the data directory. What it says is needed until the registry of the cluster is here, and
//! again if it ever has to be found anew.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::durable::write_new;

const FILE: &str = "birth.json";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Birth {
    /// Format of this file.
    version: u32,
    /// What people call the node, unless the configuration says otherwise.
    pub name: Option<String>,
    /// How it came into its cluster.
    pub by: By,
}

/// How a node came into its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum By {
    /// It was the first one.
    Init {
        /// Replicas of a group, as far as there are nodes.
        replication: u32,
    },
    /// With a join file.
    Join {
        /// Peer addresses of nodes that are members.
        addresses: Vec<String>,
    },
}

const VERSION: u32 = 1;

impl Birth {
    pub fn new(name: Option<String>, by: By) -> Self {
        Self { version: VERSION, name, by }
    }

    /// Writes the file, durably. It may be there already only if it says the same.
    pub fn write(&self, data_dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the birth of a node as JSON")?;
        write_new(&data_dir.join(FILE), format!("{text}\n").as_bytes())
    }

    /// Reads the file.
    pub fn read(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let birth: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged or of another version", path.display()))?;
        anyhow::ensure!(birth.version == VERSION, "{} is of version {}", path.display(), birth.version);
        Ok(birth)
    }
}
