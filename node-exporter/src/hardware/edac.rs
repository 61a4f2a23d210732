//! edac: memory errors per controller, row and channel, from `/sys/devices/system/edac/mc`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const CONTROLLERS: &str = "sys/devices/system/edac/mc";

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for controller in source.numbered(CONTROLLERS, "mc") {
        let folder = format!("{CONTROLLERS}/mc{controller}");
        let number = |file: &str| source.number(&format!("{folder}/{file}"));
        let labels = [("controller", controller.as_str())];
        let unknown = [labels[0], ("csrow", "unknown")];
        sheet.counter(
            "node_edac_correctable_errors_total",
            "Total correctable memory errors.",
            &labels,
            number("ce_count")?,
        );
        row(&unknown, number("ce_noinfo_count")?, CORRECTABLE, sheet);
        sheet.counter(
            "node_edac_uncorrectable_errors_total",
            "Total uncorrectable memory errors.",
            &labels,
            number("ue_count")?,
        );
        row(&unknown, number("ue_noinfo_count")?, UNCORRECTABLE, sheet);
        for csrow in source.numbered(&folder, "csrow") {
            let number = |file: &str| source.number(&format!("{folder}/csrow{csrow}/{file}"));
            let labels = [labels[0], ("csrow", csrow.as_str())];
            row(&labels, number("ce_count")?, CORRECTABLE, sheet);
            row(&labels, number("ue_count")?, UNCORRECTABLE, sheet);
            channels(source, &format!("{folder}/csrow{csrow}"), labels, sheet)?;
        }
    }
    Ok(())
}

const CORRECTABLE: (&str, &str) = ("correctable", "Total correctable memory errors for this ");
const UNCORRECTABLE: (&str, &str) = (
    "uncorrectable",
    "Total uncorrectable memory errors for this ",
);

fn row(labels: &[(&str, &str)], count: f64, (what, help): (&str, &str), sheet: &mut Sheet) {
    let name = format!("node_edac_csrow_{what}_errors_total");
    sheet.counter(&name, &format!("{help}csrow."), labels, count);
}

fn channels(
    source: &Source,
    folder: &str,
    [controller, csrow]: [(&str, &str); 2],
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    for rest in source.numbered(folder, "ch") {
        let Some(channel) = rest.strip_suffix("_ce_count") else {
            continue;
        };
        let label = source.text(&format!("{folder}/ch{channel}_dimm_label"));
        let label = label.map_or_else(
            || "unknown".to_owned(),
            |label| {
                let label = label.replace('#', "").replace("csrow", "_csrow");
                label.replace("channel", "_channel")
            },
        );
        let labels = [
            controller,
            csrow,
            ("channel", channel),
            ("dimm_label", label.as_str()),
        ];
        for (file, (what, help)) in [("ce", CORRECTABLE), ("ue", UNCORRECTABLE)] {
            let count = source.number(&format!("{folder}/ch{channel}_{file}_count"));
            let count = match count {
                Err(_) if file == "ue" => continue,
                count => count?,
            };
            let name = format!("node_edac_channel_{what}_errors_total");
            sheet.counter(&name, &format!("{help}channel."), &labels, count);
        }
    }
    Ok(())
}
