// talosctl, as far as it works on files: `gen` and `machineconfig` are its own commands, taken whole; `validate` is made
// here of the same library calls, since the package that has it pulls in everything that talosctl does over the network,
// which tests have no use for (one of those modules, siderolabs/go-kubernetes, is not to be had from the module proxy).
package main

import (
	"fmt"
	"os"

	"github.com/siderolabs/talos/cmd/talosctl/cmd/mgmt/gen"
	"github.com/siderolabs/talos/cmd/talosctl/cmd/mgmt/machineconfig"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
	"github.com/spf13/cobra"
)

// mode is where a machine runs; only metal has to be told where to install.
type mode string

func (m mode) String() string        { return string(m) }
func (m mode) RequiresInstall() bool { return m == "metal" }
func (m mode) InContainer() bool     { return m == "container" }

func validate() *cobra.Command {
	var file, where string
	var strict bool
	command := &cobra.Command{
		Use:  "validate",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if where != "metal" && where != "cloud" && where != "container" {
				return fmt.Errorf("unknown runtime mode: %q", where)
			}
			config, err := configloader.NewFromFile(file)
			if err != nil {
				return err
			}
			options := []validation.Option{validation.WithLocal()}
			if strict {
				options = append(options, validation.WithStrict())
			}
			warnings, err := config.Validate(mode(where), options...)
			for _, warning := range warnings {
				fmt.Fprintln(os.Stderr, "WARNING:", warning)
			}
			if err != nil {
				return err
			}
			fmt.Printf("%s is valid for %s mode\n", file, where)
			return nil
		},
	}
	command.Flags().StringVarP(&file, "config", "c", "", "the machine configuration")
	command.Flags().StringVarP(&where, "mode", "m", "", "metal, cloud or container")
	command.Flags().BoolVar(&strict, "strict", false, "treat warnings as errors")
	return command
}

func main() {
	root := &cobra.Command{Use: "talosctl", SilenceUsage: true}
	root.AddCommand(gen.Cmd, machineconfig.Cmd, validate())
	if root.Execute() != nil {
		os.Exit(1)
	}
}
