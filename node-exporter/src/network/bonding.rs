//! bonding: how many devices a bond has and how many of them work.

use super::DEVICES;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let no_data = |fault: CollectError| fault.absent_is_no_data("no bonding device");
    let masters = source.read(&format!("{DEVICES}/bonding_masters"));
    for master in masters.map_err(no_data)?.split_ascii_whitespace() {
        let slaves = source.read(&format!("{DEVICES}/{master}/bonding/slaves"));
        let (mut all, mut active) = (0_u32, 0_u32);
        for slave in slaves.map_err(no_data)?.split_ascii_whitespace() {
            let state = |link: &str| {
                source.read(&format!(
                    "{DEVICES}/{master}/{link}_{slave}/bonding_slave/mii_status"
                ))
            };
            // Old kernels name the link after the slave's role.
            let state = state("lower")
                .or_else(|_| state("slave"))
                .map_err(no_data)?;
            all += 1;
            active += u32::from(state.trim() == "up");
        }
        sheet.gauge(
            "node_bonding_slaves",
            "Number of configured slaves per bonding interface.",
            &[("master", master)],
            f64::from(all),
        );
        sheet.gauge(
            "node_bonding_active",
            "Number of active slaves per bonding interface.",
            &[("master", master)],
            f64::from(active),
        );
    }
    Ok(())
}
