# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_flytt_agent_global_optspecs
    string join \n config= h/help V/version
end

function __fish_flytt_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_flytt_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_flytt_agent_using_subcommand
    set -l cmd (__fish_flytt_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -l config -d 'This host\'s configuration' -r -F
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -s h -l help -d 'Print help'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -s V -l version -d 'Print version'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -f -a "run" -d 'Serve. Needs to have joined'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -f -a "join" -d 'Open the port for enrolment only, for ten minutes, and show a one-time code for `flytt host add`'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -f -a "revert" -d 'What flytt has on this host; with a migration\'s name, take it back without a controller, once the agent is stopped'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -f -a "may-stop" -d 'Whether the agent may be stopped now: not between C0 and C10 of a move. The package asks this before it is exchanged'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -f -a "probe" -d 'Measure the disk under a directory of this host, without agent or controller; one line of JSON'
complete -c flytt-agent -n "__fish_flytt_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand run" -l confined -d 'The service confines this process and whatever it starts: the server must be started by somebody else'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand join" -l again -d 'Join a (new) deployment although this host has joined one'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand join" -s h -l help -d 'Print help'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand revert" -s h -l help -d 'Print help'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand may-stop" -l reads -d 'Nor for a program that reads no newer form of the ledger than this' -r
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand may-stop" -l copies -d 'Nor while a copy is made that would begin anew'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand may-stop" -s h -l help -d 'Print help'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand probe" -l seconds -d 'Seconds of each job' -r
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand probe" -l bytes -d 'Bytes of the file [default: min(1 GiB, 5 % of what is free)]' -r
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand probe" -l job -d 'As in randwrite-4k-qd32 [default: the usual ones]' -r
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand probe" -s h -l help -d 'Print help'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand help; and not __fish_seen_subcommand_from run join revert may-stop probe help" -f -a "run" -d 'Serve. Needs to have joined'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand help; and not __fish_seen_subcommand_from run join revert may-stop probe help" -f -a "join" -d 'Open the port for enrolment only, for ten minutes, and show a one-time code for `flytt host add`'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand help; and not __fish_seen_subcommand_from run join revert may-stop probe help" -f -a "revert" -d 'What flytt has on this host; with a migration\'s name, take it back without a controller, once the agent is stopped'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand help; and not __fish_seen_subcommand_from run join revert may-stop probe help" -f -a "may-stop" -d 'Whether the agent may be stopped now: not between C0 and C10 of a move. The package asks this before it is exchanged'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand help; and not __fish_seen_subcommand_from run join revert may-stop probe help" -f -a "probe" -d 'Measure the disk under a directory of this host, without agent or controller; one line of JSON'
complete -c flytt-agent -n "__fish_flytt_agent_using_subcommand help; and not __fish_seen_subcommand_from run join revert may-stop probe help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
