//! xfrm: what IPsec could not do, from `/proc/net/xfrm_stat`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Key in the file, name, help.
const FIELDS: [(&str, &str, &str); 28] = [
    ("XfrmInError", "in_error", "All errors not matched by other"),
    ("XfrmInBufferError", "in_buffer_error", "No buffer is left"),
    ("XfrmInHdrError", "in_hdr_error", "Header error"),
    (
        "XfrmInNoStates",
        "in_no_states",
        "No state is found i.e. Either inbound SPI, address, or IPsec protocol at SA is wrong",
    ),
    (
        "XfrmInStateProtoError",
        "in_state_proto_error",
        "Transformation protocol specific error e.g. SA key is wrong",
    ),
    (
        "XfrmInStateModeError",
        "in_state_mode_error",
        "Transformation mode specific error",
    ),
    (
        "XfrmInStateSeqError",
        "in_state_seq_error",
        "Sequence error i.e. Sequence number is out of window",
    ),
    ("XfrmInStateExpired", "in_state_expired", "State is expired"),
    (
        "XfrmInStateMismatch",
        "in_state_mismatch",
        "State has mismatch option e.g. UDP encapsulation type is mismatch",
    ),
    ("XfrmInStateInvalid", "in_state_invalid", "State is invalid"),
    (
        "XfrmInTmplMismatch",
        "in_tmpl_mismatch",
        "No matching template for states e.g. Inbound SAs are correct but SP rule is wrong",
    ),
    (
        "XfrmInNoPols",
        "in_no_pols",
        "No policy is found for states e.g. Inbound SAs are correct but no SP is found",
    ),
    ("XfrmInPolBlock", "in_pol_block", "Policy discards"),
    ("XfrmInPolError", "in_pol_error", "Policy error"),
    (
        "XfrmOutError",
        "out_error",
        "All errors which is not matched others",
    ),
    (
        "XfrmOutBundleGenError",
        "out_bundle_gen_error",
        "Bundle generation error",
    ),
    (
        "XfrmOutBundleCheckError",
        "out_bundle_check_error",
        "Bundle check error",
    ),
    ("XfrmOutNoStates", "out_no_states", "No state is found"),
    (
        "XfrmOutStateProtoError",
        "out_state_proto_error",
        "Transformation protocol specific error",
    ),
    (
        "XfrmOutStateModeError",
        "out_state_mode_error",
        "Transformation mode specific error",
    ),
    (
        "XfrmOutStateSeqError",
        "out_state_seq_error",
        "Sequence error i.e. Sequence number overflow",
    ),
    (
        "XfrmOutStateExpired",
        "out_state_expired",
        "State is expired",
    ),
    ("XfrmOutPolBlock", "out_pol_block", "Policy discards"),
    ("XfrmOutPolDead", "out_pol_dead", "Policy is dead"),
    ("XfrmOutPolError", "out_pol_error", "Policy error"),
    (
        "XfrmFwdHdrError",
        "fwd_hdr_error",
        "Forward routing of a packet is not allowed",
    ),
    (
        "XfrmOutStateInvalid",
        "out_state_invalid",
        "State is invalid, perhaps expired",
    ),
    (
        "XfrmAcquireError",
        "acquire_error",
        "State hasn’t been fully acquired before use",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/net/xfrm_stat")?, sheet)
}

/// Keys that the kernel does not have are 0, as in node_exporter.
fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut values = [0.0; FIELDS.len()];
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/net/xfrm_stat", index, "a name and a number");
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else {
            return Err(fault());
        };
        let value = value.parse::<u64>().map_err(|_| fault())? as f64;
        if let Some(at) = FIELDS.iter().position(|(known, ..)| *known == key) {
            values[at] = value;
        }
    }
    for (value, (_, name, help)) in values.into_iter().zip(FIELDS) {
        let name = format!("node_xfrm_{name}_packets_total");
        sheet.counter(&name, help, &[], value);
    }
    Ok(())
}
