"""An encoder family of your own: MnasNet-small, in timm's block notation.

A family is data, so that architectures are read without torch. Its blocks are built by code that is
registered for the word their notation starts with (`ds`, `ir`); `register_encoder_block` of
`nasdepth.models.encoder_blocks` adds another kind of block.
"""

from nasdepth.families import IMAGENET, Family, register_family

register_family(
    Family(
        name="mnasnet_small",
        stem_channels=8,
        stages=(
            ("ds_r1_k3_s1_c8",),
            ("ir_r1_k3_s2_e3_c16",),
            ("ir_r2_k3_s2_e6_c16",),
            ("ir_r4_k5_s2_e6_c32_se0.25",),
            ("ir_r3_k3_s1_e6_c32_se0.25",),
            ("ir_r3_k5_s2_e6_c88_se0.25",),
            ("ir_r1_k3_s1_e6_c144",),
        ),
        activation="relu",
        timm_name="mnasnet_small",  # whose ImageNet weights fit at width 1
        normalisation=IMAGENET,
        source="Tan et al. 2019, arXiv:1807.11626",
    )
)
