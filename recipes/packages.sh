#!/bin/sh
# Download the packages that the built-in model's pictures and captions come from, check their hashes, unpack.
#
# Each package is skipped if its folder is there. Needs npm, apt-get and dpkg-deb.
#
#   recipes/packages.sh FOLDER
set -eu
packages=$(realpath -m "$1")
mkdir -p "$packages/downloads"

# A line of the data manifest, once. It is written before the folder is there: a kill in between repeats
# the fetch, and a folder that is there is in the manifest.
note_input() {
    grep -qxF "$1" "$packages/packages.jsonl" 2>/dev/null || echo "$1" >> "$packages/packages.jsonl"
}

# name, version, file of npm pack, sha256, folder, what to unpack
fetch_npm() {
    [ -d "$packages/$5" ] && return 0
    [ -f "$packages/downloads/$3" ] || (cd "$packages/downloads" && npm pack --silent "$1@$2" >/dev/null)
    echo "$4  $packages/downloads/$3" | sha256sum --check --quiet
    mkdir -p "$packages/$5.part"
    # shellcheck disable=SC2086
    tar -xzf "$packages/downloads/$3" -C "$packages/$5.part" --strip-components="${7:-1}" $6
    note_input "{\"name\": \"$1\", \"version\": \"$2\", \"registry\": \"npm\", \"sha256\": \"$4\"}"
    mv "$packages/$5.part" "$packages/$5"
}

# name, version, sha256, folder; mirrors keep one version, so another one stops here
fetch_debian() {
    [ -d "$packages/$4" ] && return 0
    find "$packages/downloads" -name "$1_*.deb" | grep -q . ||
        (cd "$packages/downloads" && apt-get download -qq "$1=$2")
    file=$(find "$packages/downloads" -name "$1_*.deb")
    echo "$3  $file" | sha256sum --check --quiet
    dpkg-deb -x "$file" "$packages/$4.part"
    note_input "{\"name\": \"$1\", \"version\": \"$2\", \"registry\": \"debian\", \"sha256\": \"$3\"}"
    mv "$packages/$4.part" "$packages/$4"
}

mkdir -p "$packages/tags"
fetch_npm @iconify/json 2.2.535 iconify-json-2.2.535.tgz \
    1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91 iconify-json "package/json package/collections.json"
fetch_npm emojibase-data 17.0.0 emojibase-data-17.0.0.tgz \
    d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a emojibase-data package
fetch_npm @lobehub/fluent-emoji-3d 1.1.0 lobehub-fluent-emoji-3d-1.1.0.tgz \
    c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58 fluent-emoji-3d package/assets
fetch_npm @mdi/svg 7.4.47 mdi-svg-7.4.47.tgz \
    de92e5dc9ce46c392ab5c53aa7190b19f82b40cb48872a083f788c7e13e91fef tags/mdi package/meta.json
fetch_npm @tabler/icons 3.51.0 tabler-icons-3.51.0.tgz \
    b30108713d3fa60aee862c2a133225da8e0f309be0708fe2925763ff810c766c tags/tabler package/icons.json
fetch_npm lucide-static 1.62.0 lucide-static-1.62.0.tgz \
    386f9080c440d6f5049cefe3456ae8357f7a0c7f76e59670cd1cb83bc7050a44 tags/lucide package/tags.json
fetch_npm @phosphor-icons/core 2.1.1 phosphor-icons-core-2.1.1.tgz \
    313332be6190b724da24107addd781799b48bf76b13963f24501112ffe1baadd tags/phosphor package/dist/index.mjs 2
fetch_debian openclipart-svg 1:0.18+dfsg-19 \
    989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5 openclipart
fetch_debian wordnet-base 1:3.0-37 61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752 wordnet
fetch_debian dataset-fashion-mnist '0.0~git20200523.55506a9-1' \
    39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0 fashion-mnist
