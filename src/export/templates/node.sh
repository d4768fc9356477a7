# The commands to adapt where processes run in another way than kubeadm's static pods: what there has to be, how one process
# is restarted, and how it says that it is well. The kubelet starts a container that has stopped again, on the files of now.
needed='sha256sum base64 cmp flock crictl systemctl curl'
patience=300

restart() {
    case $1 in
    kubelet)
        systemctl restart kubelet </dev/null
        ;;
    *)
        containers=$(crictl ps --quiet --state Running --label io.kubernetes.pod.namespace=kube-system \
            --label "io.kubernetes.container.name=$1" </dev/null)
        if [ -z "$containers" ] && well "$1"; then
            fail "$1 is well, and no container of it runs: it runs in another way, and restart() in this script is to be changed"
        fi
        # None, and not well: it is down already, and the kubelet is about to start it.
        for container in $containers; do
            crictl stop --timeout 60 "$container" </dev/null >/dev/null
        done
        ;;
    esac
}

well() {
    case $1 in
    etcd) asks "http://$loopback:2381/health" ;;
    kube-apiserver)
        asks --cacert "$root/etc/kubernetes/pki/ca.crt" --cert "$root/etc/kubernetes/pki/apiserver-kubelet-client.crt" \
            --key "$root/etc/kubernetes/pki/apiserver-kubelet-client.key" "https://$loopback:6443/readyz"
        ;;
    # These two serve with certificates that they made themselves: nothing but their answer counts.
    kube-controller-manager) asks --insecure https://127.0.0.1:10257/healthz ;;
    kube-scheduler) asks --insecure https://127.0.0.1:10259/healthz ;;
    kubelet) asks http://127.0.0.1:10248/healthz ;;
    *) fail "nothing here asks $1 how it is" ;;
    esac
}

asks() {
    curl --silent --fail --noproxy '*' --max-time 10 --output /dev/null "$@" </dev/null
}

# Nothing below is to be adapted.

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

usage() {
    fail "call it with the folder of the export, and --dry-run to see what it would do: sh FILE [--dry-run] EXPORT"
}

# Where a file of the export lies on the node.
place() {
    case $1 in
    kubelet/*) printf '%s\n' "$root/var/lib/kubelet/pki/${1#kubelet/}" ;;
    *) printf '%s\n' "$root/etc/kubernetes/$1" ;;
    esac
}

# One run at a time. The lock is on the folder itself: it leaves nothing behind, and ends with this process however that ends.
lock() {
    [ -d "$root/etc/kubernetes" ] || fail "$root/etc/kubernetes is missing: this is no node of a cluster"
    exec 9<"$root/etc/kubernetes"
    flock -n 9 || fail "another run of such a script is at work on this node: wait until it has ended, and run this again"
}

# The folder has what was exported, whole and unmixed: keys too, of which nothing else here knows what they have to be.
check_sums() {
    [ -d "$folder" ] || fail "$folder is no folder"
    if [ -h "$folder/SHA256SUMS" ] || ! [ -f "$folder/SHA256SUMS" ]; then
        wrong "SHA256SUMS is missing"
    fi
    found=$(CDPATH='' cd -- "$folder" && sha256sum -c SHA256SUMS 2>/dev/null) ||
        wrong "$(printf '%s\n' "$found" | sed -n 's/: FAILED.*//p' | tr '\n' ' ')not as in its SHA256SUMS"
}

# It is this node's, and of this phase: what is public in it has the hashes that the repository vouches for.
check_folder() {
    while read -r sum path field; do
        [ -f "$folder/$path" ] || wrong "$path is missing"
        if [ -z "$field" ]; then
            found=$(sha256sum <"$folder/$path")
        else
            found=$(sed -n "s/^ *$field: //p" "$folder/$path" | base64 -d | sha256sum)
        fi
        [ "${found%% *}" = "$sum" ] || wrong "$path is another"
    done <<EOF
$expected
EOF
    # Its keys are secret, and nothing else of it differs by phase but their names.
    for path in $copy; do
        [ "$path" != pki/encryption-config.yaml ] || [ ! -f "$folder/$path" ] ||
            [ "$(sed -n 's/^ *- name: //p' "$folder/$path")" = "$encryption_keys" ] || wrong "$path is another"
    done
}

wrong() {
    fail "$folder is not the export of $node, cluster $cluster, in this phase: $1. Make it anew:" \
        "kluis export kubeadm -c $cluster --node $node --out DIR"
}

# Another node's kubelet.conf says so. One that names no node was not made by kubeadm or kluis, and says nothing.
check_machine() {
    conf=$(place kubelet.conf)
    [ -f "$conf" ] || fail "$conf is missing: this is no node of a cluster"
    is=$(sed -n 's/^current-context: *"\{0,1\}system:node:\([^"@]*\)@.*/\1/p' "$conf")
    [ -z "$is" ] || [ "$is" = "$node" ] || fail "this is node $is, and what is to be done here is for $node"
}

# Another cluster may have a node of the same name. Contexts don't tell: whoever made the cluster chose the name in them.
check_cluster() {
    blocks "$(place pki/ca.crt)" '' | grep -qxF -e "$(blocks "$folder/pki/ca.crt" '')" ||
        fail "$(place pki/ca.crt) has no CA certificate that cluster $cluster trusts in this phase: this is a node of another" \
            "cluster, or $node did not get the phase before"
}

# What this phase does not bring is on the node already, as the phase has it: a node that missed the phase before would trust the
# new and show the old, or the other way round. And where leaves go in, it trusts what they come from: etcd reads that at its
# start alone, so it was restarted with the same certificates, in whatever order.
check_before() {
    late=''
    while read -r sum path field; do
        is_in "$copy" "$path" || is_theirs "$path" "$field" || same "$path" "$field" || is_in "$late" "$path" ||
            late="$late$path
"
    done <<EOF
$expected
EOF
    # Of these no certificate tells.
    for path in pki/sa.key pki/encryption-config.yaml; do
        [ ! -f "$folder/$path" ] || is_in "$copy" "$path" ||
            [ "$(secrets "$folder/$path")" = "$(secrets "$(place "$path")")" ] || late="$late$path
"
    done
    for path in $bundles_of_before; do
        [ "$(blocks "$folder/$path" '' | sort)" = "$(blocks "$(place "$path")" '' | sort)" ] ||
            late="$late$path
"
    done
    [ -z "$late" ] || fail "$node did not get the phase before, or what was issued since. On this node are not as they have to" \
        "be when this phase begins: $(printf '%s' "$late" | tr '\n' ' ')- how it catches up is in docs/ROTATION.md (A node that" \
        "missed a phase). Nothing was changed"
}

# What is not kluis's to expect: admin.conf, which no process reads, where somebody took it away; and the certificate of a
# kubelet that asks for its own and keeps it in a file beside its kubeconfig.
is_theirs() {
    there=$(place "$1")
    case $1:$2 in
    admin.conf:*) [ ! -e "$there" ] ;;
    kubelet.conf:client-certificate-data) [ -f "$there" ] && grep -q '^ *client-certificate: ' "$there" ;;
    *) return 1 ;;
    esac
}

same() {
    [ "$(blocks "$folder/$1" "$2")" = "$(blocks "$(place "$1")" "$2")" ]
}

# The certificates and public keys in a file, or in a field of a kubeconfig: one a line, without what stands around them.
blocks() {
    {
        if [ -z "$2" ]; then cat "$1"; else sed -n "s/^ *$2: //p" "$1" | tr -d '"' | base64 -d; fi
    } 2>/dev/null | sed -n '/^-*BEGIN [CP][EU]/,/^-*END [CP][EU]/p' | tr -d ' \t\r\n' | tr -s - '\n' |
        sed '/^BEGIN/d; /^END/d; /^$/d'
}

# A hash of the secrets in a file: the lines of a key, or names and keys of an encryption configuration.
secrets() {
    if [ -f "$1" ]; then
        sed -n '/^-*BEGIN /,/^-*END /p; /^ *- name: /p; /^ *secret: /p' "$1" | tr -d ' \t\r' | sha256sum
    fi
}

# Whether a list, one a line, has this line.
is_in() {
    printf '%s\n' "$1" | grep -qxF -e "$2"
}

# What would go wrong half-way is found before the first change.
check_file() {
    to=$(place "$1")
    if [ -h "$folder/$1" ] || ! [ -f "$folder/$1" ] || ! [ -s "$folder/$1" ]; then
        wrong "$1 is no file with something in it"
    fi
    is_in "$(sed -n 's/^[0-9a-f]\{64\} [ *]//p' "$folder/SHA256SUMS")" "$1" || wrong "its SHA256SUMS does not have $1"
    # A link is neither followed nor replaced: what it leads to may be others' too, and who watches the file misses the change.
    if [ -h "$to" ] || { [ -e "$to" ] && ! [ -f "$to" ]; }; then
        fail "$to is a link or no file: put a file there first"
    fi
    [ -d "${to%/*}" ] || fail "${to%/*} is no folder: is this $node?"
}

# Puts the new file beside the old one and renames it over: who reads it sees the one or the other, whole.
put() {
    to=$(place "$1")
    if [ -f "$to" ] && cmp -s "$folder/$1" "$to"; then
        say "is there  $1"
        return
    fi
    changed=yes
    if [ "$dry" = yes ]; then
        say "would copy $1"
        return
    fi
    # Whatever was restarted before was restarted on other files.
    rm -rf "$notes"
    beside=$to.kluis-new
    rm -f "$beside"
    cp "$folder/$1" "$beside"
    case $1 in
    *.crt) chmod 0644 "$beside" ;;
    *) chmod 0600 "$beside" ;;
    esac
    [ -n "$root" ] || chown 0:0 "$beside"
    mv -f "$beside" "$to"
    beside=
    say "copied    $1"
}

# Restarts a process and waits until it is well; not again where this was done already.
renew() {
    if [ "$changed" = no ] && [ -f "$notes/$1" ] && [ "$(cat "$notes/$1")" = "$mark" ]; then
        say "was restarted $1"
        return
    fi
    if [ "$dry" = yes ]; then
        say "would restart $1"
        return
    fi
    say "restarting $1"
    # A daemon that it starts must not hold the lock.
    restart "$1" 9<&-
    waited=0
    until well "$1"; do
        [ "$waited" -lt "$patience" ] ||
            fail "$1 is not well after $patience s. Touch no other node before it is; then run this again"
        sleep 2
        waited=$((waited + 2))
    done
    mkdir -p "$notes"
    printf '%s\n' "$mark" >"$notes/$1"
    say "is well   $1"
}

main() {
    dry=no folder='' beside='' changed=no
    for word; do
        case $word in
        --dry-run) dry=yes ;;
        -*) usage ;;
        *)
            [ -z "$folder" ] || usage
            folder=$word
            ;;
        esac
    done
    [ -n "$folder" ] || usage
    # KLUIS_ROOT is for trying it: a folder that stands for the node's root. The programs are those of the PATH all the same.
    root=${KLUIS_ROOT:-}
    notes=$root/run/kluis
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "this is for root: it replaces the files of Kubernetes and restarts it"
    for command in $needed; do
        command -v "$command" >/dev/null || fail "there is no program $command"
    done
    say "node $node of cluster $cluster"
    say "$phases"
    [ -z "$root" ] || say "tried below $root"

    lock
    check_machine
    check_sums
    check_folder
    check_cluster
    files=$copy
    for file in $copy_where_ca_keys_are; do
        key=$file
        [ "$file" != pki/ca-signing.crt ] || key=pki/ca.key
        to=$(place "$key")
        if [ -e "$to" ]; then
            [ -e "$folder/$file" ] || fail "$to is here, so the export needs its successor: kluis export kubeadm" \
                "-c $cluster --node $node --with-ca-keys --out DIR"
            files="$files $file"
        fi
    done
    for file in $files; do check_file "$file"; done
    check_before

    trap '[ -z "$beside" ] || rm -f "$beside"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
    for file in $files; do put "$file"; done
    [ "$dry" = yes ] || sync
    for process in $processes; do renew "$process"; done
    [ "$dry" = yes ] || say "$node is done. Delete $folder, which has keys in it, and go on with the next node."
}

main "$@"
