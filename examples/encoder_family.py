"""An encoder family of your own: MnasNet-B1, in timm's block notation.

A family is data, so that architectures are read without torch. Its blocks are built by code that is
registered for the word their notation starts with (`ds`, `ir`); `register_encoder_block` of
`nasdepth.models.encoder_blocks` adds another kind of block.
"""

from nasdepth.families import IMAGENET, Family, register_family

register_family(
    Family(
        name="mnasnet_b1",
        stem_channels=32,
        stages=(
            ("ds_r1_k3_s1_c16_noskip",),
            ("ir_r3_k3_s2_e3_c24",),
            ("ir_r3_k5_s2_e3_c40",),
            ("ir_r3_k5_s2_e6_c80",),
            ("ir_r2_k3_s1_e6_c96",),
            ("ir_r4_k5_s2_e6_c192",),
            ("ir_r1_k3_s1_e6_c320_noskip",),
        ),
        activation="relu",
        timm_name="mnasnet_100",  # whose ImageNet weights fit at width 1
        normalisation=IMAGENET,
        source="Tan et al. 2019, arXiv:1807.11626",
    )
)
