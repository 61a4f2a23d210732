//! cpu_vulnerabilities: which holes the CPU has and how the kernel mends them.

use super::CPUS;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const STATES: [&str; 4] = ["not affected", "vulnerable", "mitigation", "unknown"];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let folder = format!("{CPUS}/vulnerabilities");
    let names = match source.entries(&folder) {
        Err(fault) if fault.is_absent() => return Ok(()),
        names => names?,
    };
    for name in names {
        let text = source.read(&format!("{folder}/{name}"))?;
        let (state, mitigation) = parse(text.trim());
        sheet.gauge(
            "node_cpu_vulnerabilities_info",
            "Details of each CPU vulnerability reported by sysfs. The value of the series is an \
             int encoded state of the vulnerability. The same state is stored as a string in the \
             label",
            &[
                ("codename", &name),
                ("state", state),
                ("mitigation", &mitigation),
            ],
            1.0,
        );
    }
    Ok(())
}

fn parse(text: &str) -> (&'static str, String) {
    let lower = text.to_lowercase();
    let Some(state) = STATES.iter().find(|state| lower.starts_with(*state)) else {
        return ("unknown", text.to_owned());
    };
    if *state == "not affected" {
        return (state, String::new());
    }
    let rest: Vec<&str> = text.split_ascii_whitespace().skip(1).collect();
    (state, rest.join(" "))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn states_and_mitigations() {
        for (text, state, mitigation) in [
            ("Not affected", "not affected", ""),
            ("Vulnerable", "vulnerable", ""),
            ("Mitigation: PTI", "mitigation", "PTI"),
            (
                "Mitigation: Retpolines; IBPB: conditional",
                "mitigation",
                "Retpolines; IBPB: conditional",
            ),
            ("Unknown: No mitigations", "unknown", "No mitigations"),
            ("KVM: Split huge pages", "unknown", "KVM: Split huge pages"),
        ] {
            assert_eq!(parse(text), (state, mitigation.to_owned()), "{text}");
        }
    }
}
