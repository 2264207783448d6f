from setuptools import find_packages, setup

package_name = 'vla_sim'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test', 'test.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    zip_safe=True,
    maintainer='The VLA suite maintainers',
    maintainer_email='maintainers@vla-suite.invalid',
    description='The lab on the wire: MuJoCo Meca500, cameras and OCT/force sensor.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'vla_sim = vla_sim.main:main',
        ],
    },
)
