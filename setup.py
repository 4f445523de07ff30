"""The compiled part, which setup.cfg cannot name. It is optional: without a C compiler it is left out."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            'mmseg_keyprotect.ciphers._compiled',
            ['mmseg_keyprotect/ciphers/compiled.c'],
            extra_compile_args=['-O3'],
            optional=True,
            py_limited_api=True,
        )
    ]
)
