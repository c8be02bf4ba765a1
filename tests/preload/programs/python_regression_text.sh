# SPDX-License-Identifier: MIT
# CPython's own tests of parsers, serialisers and compression: mostly C code with its own ways to call malloc. Of pickle it
# is the classes written in C.
modules=(
    test_codecs test_csv test_decimal test_json test_long test_pickle':*.C*' test_pyexpat test_re test_struct
    test_xml_etree_c test_zlib)
source "$inputs/python_regression.sh"
