# Sourced before every reconstruction job: what Calypso needs. Set the path to your own installation.
export ATLAS_LOCAL_ROOT_BASE=/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase
source ${ATLAS_LOCAL_ROOT_BASE}/user/atlasLocalSetup.sh
asetup --input=/afs/cern.ch/user/f/faser/calypso/asetup.faser Athena,24.0.41
source /afs/cern.ch/user/f/faser/calypso/install/setup.sh
