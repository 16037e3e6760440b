//! Where the programs that are attached to a workload come from: whoever takes it over need not load again what stands.
//!
//! Loading is most of what a start costs. The maps and the attachments of a predecessor are adopted anyway; if its programs were
//! loaded from the same object over the same maps, they are too.

use anyhow::{Context, Result};
use aya::maps::Array;
use sidestep_abi::maps::{HANDOFFS, ORIGIN};
use sidestep_abi::settings::Origin;

use crate::datapath::links::Standing;
use crate::datapath::object::{Found, Maps, Object, Owned};

/// The origin of what this process would load.
pub(super) fn of(object: &Object) -> Result<Origin> {
    Ok(Origin { object: object.digest(), handoffs: object.map_id(HANDOFFS)?, padding: 0 })
}

/// What the attachments are worth that a predecessor left.
pub(super) fn standing(object: &Object, maps: &Maps, ours: Origin) -> Result<Standing> {
    let same = object.found == Found::All && open(maps)?.get(&0, 0).context("read the origin")? == ours;
    Ok(if same { Standing::Ours } else { Standing::Foreign })
}

/// Says that some of the attached programs are being replaced.
pub(super) fn withdraw(maps: &Maps) -> Result<()> {
    open(maps)?.set(0, Origin::default(), 0).context("withdraw the origin")
}

/// Says where all of them come from.
pub(super) fn declare(maps: &Maps, ours: Origin) -> Result<()> {
    open(maps)?.set(0, ours, 0).context("write the origin")
}

fn open(maps: &Maps) -> Result<Array<Owned, Origin>> {
    maps.typed(ORIGIN)
}
