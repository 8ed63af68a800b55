//! Every mechanism and each of its presets sits the exam: `gqa::mha::any_chunking`.

macro_rules! stamp {
    ($($module:ident::$type:ident: $($preset:ident),+;)+) => {
        $(mod $module {
            $(#[allow(clippy::module_inception, reason = "the first preset has the mechanism's name")]
            mod $preset {
                attendant_mech::exam!(attendant_mech::mechanisms::$module::$type, stringify!($preset));
            })+
        })+
    };
}

attendant_mech::for_each_mechanism!(stamp);
