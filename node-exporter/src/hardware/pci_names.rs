//! Names of PCI vendors, devices and classes, from the file `pci.ids`.

use std::collections::BTreeMap;

/// Names by their identifiers: `8086`, `8086:1234`, `8086:1234:8086:0001`, `C01`, `C0108`, `C010802`.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    pub(super) fn parse(text: &str) -> Self {
        let mut all = BTreeMap::new();
        let (mut first, mut second) = (String::new(), String::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let depth = line.bytes().take_while(|byte| *byte == b'\t').count();
            let Some((id, name)) = line.trim_start_matches('\t').split_once("  ") else {
                continue;
            };
            let (id, name) = (id.trim(), name.trim().to_owned());
            let is_class = first.starts_with('C');
            let colon = if is_class { "" } else { ":" };
            match depth {
                0 => {
                    // `C 01` is a class, `0001` a vendor.
                    first = id.replace("C ", "C");
                    second.clear();
                    all.insert(first.clone(), name);
                }
                1 if !first.is_empty() => {
                    second = format!("{first}{colon}{id}");
                    all.insert(second.clone(), name);
                }
                2 if !second.is_empty() => {
                    let id = id.replace(' ', ":");
                    all.insert(format!("{second}{colon}{id}"), name);
                }
                _ => {}
            }
        }
        Self(all)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The vendor's name, or its identifier.
    pub(super) fn vendor(&self, vendor: &str) -> String {
        self.get(vendor).unwrap_or(vendor).to_owned()
    }

    pub(super) fn device(&self, vendor: &str, device: &str) -> String {
        let found = self.get(&format!("{vendor}:{device}"));
        found.unwrap_or(device).to_owned()
    }

    pub(super) fn subsystem(&self, vendor: &str, device: &str, sub: (&str, &str)) -> String {
        let found = self.get(&format!("{vendor}:{device}:{}:{}", sub.0, sub.1));
        found.unwrap_or(sub.1).to_owned()
    }

    /// The name of the narrowest class that is known.
    pub(super) fn class(&self, class: &str) -> String {
        let narrow = [6, 4, 2].iter().filter_map(|length| class.get(..*length));
        let mut found = narrow.filter_map(|part| self.get(&format!("C{part}")));
        match found.next() {
            Some(name) => name.to_owned(),
            None => format!("Unknown class ({class})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let names = Names::parse(
            "# comment\n8086  Intel\n\t1234  Card\n\t\t8086 0001  Special card\n\
             C 01  Storage\n\t08  NVM controller\n\t\t02  NVM Express\n",
        );
        assert_eq!(names.vendor("8086"), "Intel");
        assert_eq!(names.vendor("1af4"), "1af4");
        assert_eq!(names.device("8086", "1234"), "Card");
        let sub = names.subsystem("8086", "1234", ("8086", "0001"));
        assert_eq!(sub, "Special card");
        for (class, expect) in [
            ("010802", "NVM Express"),
            ("010899", "NVM controller"),
            ("019900", "Storage"),
            ("ff0000", "Unknown class (ff0000)"),
        ] {
            assert_eq!(names.class(class), expect);
        }
    }
}
